"""Every rule of the key's life, as given, when, then."""

from dataclasses import fields
from hashlib import sha256
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.key.domain import KEY
from services.key.effects import (
    CreateKeyPair,
    ErasePrivateKey,
    KeyIdTaken,
    KeyPairCreated,
    PrivateKeyDestroyed,
    PrivateKeyErased,
    PrivateKeySealed,
    PrivateKeyUnavailable,
    RecipientInvalid,
    SealPrivateKey,
    Sign,
    Signed,
    SigningDenied,
)
from services.key.purposes import SIGNATURE_ALGORITHMS
from services.key.states import (
    Active,
    Deactivated,
    DeactivationReason,
    Destroyed,
    Escrowed,
    Key,
    Prepared,
    Rotated,
    Traits,
    Unborn,
    Voided,
)
from shared.contracts.key.commands import DestroyKey, EscrowKey, ExportKey, GenerateKey, RevokeKey, SignWithKey
from shared.contracts.key.events import KeyDestroyed, KeyEscrowed, KeyExported, KeyGenerated, KeyRevoked, KeySigned
from shared.contracts.key.value_types import Algorithm, OwnerKind, Provenance, Purpose, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from tests.support.scenario import NOON, Scenario

ID = "0192f0c1-0000-7000-8000-00000000000a"
PEM = "-----BEGIN PUBLIC KEY-----\n"
PRINT = "ab" * 32
RECIPIENT = bytes(range(32))
key = Scenario(KEY)


def generated(algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, *, exportable=False):
    return KeyGenerated(
        key_id=ID,
        algorithm=algorithm,
        public_key_pem=PEM,
        fingerprint_sha256=PRINT,
        purpose=purpose,
        provenance=Provenance.SOFTWARE,
        exportable=exportable,
    )


def sign(purpose=Purpose.DIGITAL_SIGNATURE, algorithm=SignatureAlgorithm.ECDSA_SHA256):
    return SignWithKey(key_id=ID, message=b"hello", signature_algorithm=algorithm, purpose=purpose)


GENERATE = GenerateKey(key_id=ID, algorithm=Algorithm.EC_P256)
PAIR = CreateKeyPair(
    key_id=ID, algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, exportable=False, owner=None, label=None
)
SIGNED = Sign(
    key_id=ID, message=b"hello", signature_algorithm=SignatureAlgorithm.ECDSA_SHA256, purpose=Purpose.DIGITAL_SIGNATURE
)
SEAL = SealPrivateKey(key_id=ID, recipient_public_key=RECIPIENT)
EXPORT = ExportKey(key_id=ID, recipient_public_key=RECIPIENT)
EXPORTED = KeyExported(key_id=ID, algorithm=Algorithm.X25519, sealed_key=b"sealed", recipient_public_key=RECIPIENT)
ESCROWED = KeyEscrowed(key_id=ID)
REVOKED = KeyRevoked(key_id=ID, reason="lost")
VOIDED = KeyRevoked(key_id=ID, reason="undone", existed=False)
DESTROYED = KeyDestroyed(key_id=ID)
MANAGEMENT = generated(Algorithm.X25519, Purpose.KEY_MANAGEMENT, exportable=True)
IN_ESCROW = (MANAGEMENT, EXPORTED, ESCROWED)
OVER = {"revoked": (generated(), REVOKED), "voided": (VOIDED,), "destroyed": (generated(), REVOKED, DESTROYED)}
over = pytest.mark.parametrize("history", OVER.values(), ids=OVER)


# -- generating ----------------------------------------------------------------
def test_a_new_key_is_made_in_the_keystore():
    key.given().when(GENERATE).then_performs(PAIR)


def test_an_x25519_key_is_for_key_management_unless_said_otherwise():
    command = GenerateKey(key_id=ID, algorithm=Algorithm.X25519, exportable=True, owner="ops", label="vpn")

    pair = CreateKeyPair(
        key_id=ID, algorithm=Algorithm.X25519, purpose=Purpose.KEY_MANAGEMENT, exportable=True, owner="ops", label="vpn"
    )
    key.given().when(command).then_performs(pair)


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.KEY_MANAGEMENT}))
def test_an_x25519_key_can_have_no_other_purpose(purpose):
    command = GenerateKey(key_id=ID, algorithm=Algorithm.X25519, purpose=purpose)

    key.given().when(command).then_rejects(RejectionCode.INVALID, purpose, "key-management")


def test_a_certificate_signing_key_cannot_be_exportable():
    command = GenerateKey(key_id=ID, algorithm=Algorithm.EC_P384, purpose=Purpose.CERTIFICATE_SIGNING, exportable=True)

    key.given().when(command).then_rejects(RejectionCode.NOT_ALLOWED, "without exportable")


def test_the_pair_that_was_made_is_reported():
    pair = CreateKeyPair(
        key_id=ID,
        algorithm=Algorithm.ED25519,
        purpose=Purpose.AUTHENTICATION,
        exportable=True,
        owner="ada",
        label="laptop",
    )

    key.given().when(KeyPairCreated(pair, PEM, PRINT)).then(
        KeyGenerated(
            key_id=ID,
            algorithm=Algorithm.ED25519,
            public_key_pem=PEM,
            fingerprint_sha256=PRINT,
            purpose=Purpose.AUTHENTICATION,
            provenance=Provenance.SOFTWARE,
            exportable=True,
            owner="ada",
            label="laptop",
        )
    )


@pytest.mark.parametrize("history", [(MANAGEMENT,), IN_ESCROW], ids=["active", "escrowed"])
def test_asking_for_a_key_that_is_there_makes_no_other(history):
    key.given(*history).when(GenerateKey(key_id=ID, algorithm=Algorithm.X25519)).then_already_done()


@pytest.mark.parametrize("history", [(MANAGEMENT,), IN_ESCROW], ids=["active", "escrowed"])
def test_an_id_that_another_kind_of_key_has_is_taken(history):
    key.given(*history).when(GENERATE).then_rejects(
        RejectionCode.CONFLICT, "x25519", "key-management", "another key_id"
    )


def test_a_key_of_another_purpose_is_another_kind_of_key():
    command = GenerateKey(key_id=ID, algorithm=Algorithm.EC_P256, purpose=Purpose.AUTHENTICATION)

    key.given(generated()).when(command).then_rejects(RejectionCode.CONFLICT, "ec-p256", "digital-signature")


@over
def test_an_id_is_never_used_again(history):
    key.given(*history).when(GENERATE).then_rejects(RejectionCode.CONFLICT, "never used again", "choose another")


def test_a_pair_of_another_kind_that_is_not_told_of_yet_takes_the_id_too():
    found = KeyIdTaken(PAIR, Algorithm.RSA_2048, Purpose.AUTHENTICATION)

    key.given().when(found).then_rejects(RejectionCode.CONFLICT, "rsa-2048", "authentication")


# -- signing -------------------------------------------------------------------
def test_an_active_key_signs():
    key.given(generated()).when(sign()).then_performs(SIGNED)


def test_a_signature_is_reported_with_the_digest_of_what_it_is_on():
    key.given(generated()).when(Signed(SIGNED, b"signature")).then(
        KeySigned(
            key_id=ID,
            signature=b"signature",
            signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
            message_sha256=sha256(b"hello").hexdigest(),
            purpose=Purpose.DIGITAL_SIGNATURE,
        )
    )


def test_an_exported_key_still_signs():
    key.given(generated(exportable=True), EXPORTED).when(sign()).then_performs(SIGNED)


def test_what_does_not_exist_does_not_sign():
    key.given().when(sign()).then_rejects(RejectionCode.NOT_FOUND, ID, "generate it first")


@over
def test_a_key_that_is_over_signs_nothing(history):
    key.given(*history).when(sign()).then_rejects(RejectionCode.CONFLICT, "signs nothing any more", "another key")


def test_an_escrowed_key_signs_nothing():
    key.given(*IN_ESCROW).when(sign()).then_rejects(RejectionCode.CONFLICT, "escrowed", "exported to")


def test_a_key_signs_for_its_own_purpose_only():
    command = sign(purpose=Purpose.CERTIFICATE_SIGNING)

    key.given(generated()).when(command).then_rejects(
        RejectionCode.NOT_ALLOWED, "digital-signature", "certificate-signing"
    )


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_management_key_signs_nothing_whatever_for(purpose):
    history = generated(Algorithm.EC_P256, Purpose.KEY_MANAGEMENT)

    key.given(history).when(sign(purpose)).then_rejects(RejectionCode.NOT_ALLOWED, "key-management", "signing key")


@pytest.mark.parametrize("signature_algorithm", SignatureAlgorithm)
@pytest.mark.parametrize("algorithm", sorted(set(Algorithm) - {Algorithm.X25519}))
def test_the_signature_algorithm_must_fit_the_key(algorithm, signature_algorithm):
    answer = key.given(generated(algorithm)).when(sign(algorithm=signature_algorithm))

    if signature_algorithm in SIGNATURE_ALGORITHMS[algorithm]:
        answer.then_performs(
            Sign(
                key_id=ID, message=b"hello", signature_algorithm=signature_algorithm, purpose=Purpose.DIGITAL_SIGNATURE
            )
        )
    else:
        answer.then_rejects(RejectionCode.INVALID, algorithm, signature_algorithm, *SIGNATURE_ALGORITHMS[algorithm])


def test_these_signature_algorithms_fit():
    rsa = {"rsa-pkcs1-sha256", "rsa-pkcs1-sha384"}

    assert {algorithm.value: {*fitting} for algorithm, fitting in SIGNATURE_ALGORITHMS.items()} == {
        "rsa-2048": rsa,
        "rsa-3072": rsa,
        "rsa-4096": rsa,
        "ec-p256": {"ecdsa-sha256"},
        "ec-p384": {"ecdsa-sha384", "ecdsa-sha256"},
        "ed25519": {"ed25519"},
        "x25519": set(),
        "ml-dsa-65": {"ml-dsa-65"},
    }


def test_what_is_no_certificate_is_not_signed_as_one():
    purpose = Purpose.CERTIFICATE_SIGNING
    request = Sign(key_id=ID, message=b"hello", signature_algorithm=SignatureAlgorithm.ECDSA_SHA256, purpose=purpose)

    key.given(generated(purpose=purpose)).when(SigningDenied(request, purpose, "trailing")).then_rejects(
        RejectionCode.NOT_ALLOWED, "certificate-signing", "trailing"
    )


# -- exporting and escrow ------------------------------------------------------
def test_an_exportable_key_is_sealed_to_who_asks():
    key.given(generated(exportable=True)).when(EXPORT).then_performs(SEAL)


def test_an_escrowed_key_can_be_exported_again():
    key.given(*IN_ESCROW).when(EXPORT).then_performs(SEAL)
    key.given(*IN_ESCROW, EXPORTED).when(EXPORT).then_performs(SEAL)


def test_the_sealed_key_is_reported():
    key.given(MANAGEMENT).when(PrivateKeySealed(SEAL, b"sealed", Algorithm.X25519)).then(EXPORTED)


def test_a_key_that_is_not_exportable_stays():
    key.given(generated()).when(EXPORT).then_rejects(RejectionCode.NOT_ALLOWED, "exportable true")


def test_a_certificate_signing_key_stays_even_if_its_event_says_exportable():
    history = generated(purpose=Purpose.CERTIFICATE_SIGNING, exportable=True)

    key.given(history).when(EXPORT).then_rejects(RejectionCode.NOT_ALLOWED, "certificate-signing", "is never exported")


def test_what_does_not_exist_cannot_be_exported():
    key.given().when(EXPORT).then_rejects(RejectionCode.NOT_FOUND, ID)


@over
def test_a_key_that_is_over_cannot_be_exported(history):
    key.given(*history).when(EXPORT).then_rejects(RejectionCode.CONFLICT, "only a key in use")


def test_a_recipient_that_nothing_can_be_sealed_to_is_said_to_be_wrong():
    key.given(MANAGEMENT).when(RecipientInvalid(SEAL)).then_rejects(RejectionCode.INVALID, "recipient_public_key")


def test_an_exported_key_management_key_goes_into_escrow_once():
    key.given(MANAGEMENT, EXPORTED).when(EscrowKey(key_id=ID)).then(ESCROWED)
    key.given(*IN_ESCROW).when(EscrowKey(key_id=ID)).then_already_done()


def test_a_key_that_lives_only_here_is_not_escrowed():
    key.given(MANAGEMENT).when(EscrowKey(key_id=ID)).then_rejects(RejectionCode.CONFLICT, "export it first")


def test_a_key_that_signs_is_not_escrowed():
    key.given(generated(exportable=True), EXPORTED).when(EscrowKey(key_id=ID)).then_rejects(
        RejectionCode.NOT_ALLOWED, "digital-signature", "only key-management"
    )


def test_what_does_not_exist_is_not_escrowed():
    key.given().when(EscrowKey(key_id=ID)).then_rejects(RejectionCode.NOT_FOUND, ID)


@over
def test_a_key_that_is_over_is_not_escrowed(history):
    key.given(*history).when(EscrowKey(key_id=ID)).then_rejects(RejectionCode.CONFLICT, "only a key in use")


# -- revoking and destroying ---------------------------------------------------
@pytest.mark.parametrize("history", [(generated(),), (MANAGEMENT, EXPORTED), IN_ESCROW])
@pytest.mark.parametrize("void_if_absent", [False, True])
def test_a_key_is_revoked_for_a_reason(history, void_if_absent):
    command = RevokeKey(key_id=ID, reason="lost", void_if_absent=void_if_absent)

    key.given(*history).when(command).then(REVOKED)


@over
def test_revocation_is_final(history):
    key.given(*history).when(RevokeKey(key_id=ID, reason="again", void_if_absent=True)).then_already_done()


def test_what_does_not_exist_is_not_revoked():
    key.given().when(RevokeKey(key_id=ID)).then_rejects(RejectionCode.NOT_FOUND, ID, "void_if_absent")


def test_an_id_is_voided_before_any_key_has_it():
    key.given().when(RevokeKey(key_id=ID, reason="undone", void_if_absent=True)).then(VOIDED)
    key.given(VOIDED).when(GENERATE).then_rejects(RejectionCode.CONFLICT, "voided before it existed")


@pytest.mark.parametrize(
    "history",
    [(generated(), REVOKED), (VOIDED,), IN_ESCROW, (MANAGEMENT, EXPORTED)],
    ids=["revoked", "voided", "escrowed", "exported"],
)
def test_what_is_out_of_use_or_lives_on_elsewhere_can_be_destroyed(history):
    key.given(*history).when(DestroyKey(key_id=ID)).then_performs(ErasePrivateKey(ID))
    key.given(*history).when(PrivateKeyErased(ErasePrivateKey(ID))).then(DESTROYED)


@pytest.mark.parametrize("exportable", [False, True])
def test_a_key_in_use_that_lives_only_here_is_not_destroyed(exportable):
    history = generated(exportable=exportable)

    key.given(history).when(DestroyKey(key_id=ID)).then_rejects(RejectionCode.CONFLICT, "revoke it first")


def test_what_does_not_exist_is_not_destroyed():
    key.given().when(DestroyKey(key_id=ID)).then_rejects(RejectionCode.NOT_FOUND, ID)


def test_destroying_twice_is_destroying_once():
    key.given(*OVER["destroyed"]).when(DestroyKey(key_id=ID)).then_already_done()


# -- what the keystore cannot do -------------------------------------------------
@pytest.mark.parametrize("request_", [PAIR, SIGNED, SEAL])
def test_a_private_half_that_was_destroyed_meanwhile_is_a_conflict(request_):
    key.given().when(PrivateKeyDestroyed(request_)).then_rejects(RejectionCode.CONFLICT, "destroyed", ID)


@pytest.mark.parametrize("request_", [PAIR, SIGNED, SEAL])
def test_a_private_half_out_of_reach_may_be_asked_for_again(request_):
    answer = key.given().when(PrivateKeyUnavailable(request_, "restore the bucket"))

    answer.then_rejects(RejectionCode.UNAVAILABLE, "restore the bucket")
    assert answer.answer.retryable


# -- states ----------------------------------------------------------------------
EC = Traits(algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, public_key_pem=PEM)
FULL = Traits(
    algorithm=Algorithm.ED25519,
    purpose=Purpose.NATS_OPERATOR,
    public_key_pem=PEM,
    exportable=True,
    owner="Example AG",
    owner_kind=OwnerKind.ORGANIZATION,
    expires_at=NOON,
    approvals=2,
    provenance=Provenance.DERIVED,
    organization="Example AG",
    path="nats/operator",
)
STATES = [
    Unborn(),
    Prepared("AAAA"),
    Active(EC),
    Active(FULL, exported=True),
    Rotated(traits=FULL, successor_id=ID, overlap_until=NOON),
    Escrowed(EC),
    *(Deactivated(EC, end) for end in DeactivationReason),
    Voided(),
    Destroyed(),
]


@pytest.mark.parametrize("state", STATES)
def test_a_state_survives_its_snapshot(state):
    assert KEY.states.validate_python(KEY.states.dump_python(state, mode="json")) == state


def test_no_state_holds_bytes():
    kinds = get_args(Key)

    assert {type(state) for state in STATES} == set(kinds)
    assert not [field for kind in kinds for field in fields(kind) if "bytes" in str(field.type)]


events = st.lists(
    st.sampled_from([generated(), MANAGEMENT, EXPORTED, ESCROWED, REVOKED, VOIDED, DESTROYED]), max_size=8
)
commands = st.sampled_from(
    [GENERATE, sign(), EXPORT, EscrowKey(key_id=ID), RevokeKey(key_id=ID), DestroyKey(key_id=ID)]
)


@given(events, commands)
def test_every_command_has_an_answer_whatever_was_before(history, command):
    assert key.given(*history).when(command).answer is not None


@given(events)
def test_nothing_follows_destruction(history):
    after = key.given(*history, DESTROYED)

    for command in (sign(), EXPORT, GENERATE, EscrowKey(key_id=ID)):
        after.when(command).then_rejects(RejectionCode.CONFLICT)
