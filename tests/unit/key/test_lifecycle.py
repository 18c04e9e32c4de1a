"""The life of a key: purpose, creation, rotation and end."""

from datetime import timedelta
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

import pytest

from services.key.crypto.derivation import derivation_of
from services.key.crypto.nkeys import ed25519_of
from services.key.domain import KEY
from services.key.effects import (
    AlgorithmDisabled,
    BatchSigned,
    BindCertificate,
    CaCertificateRegistered,
    CertificatesInvalid,
    ConcurrentKeyPair,
    CreateKeyPair,
    DeriveKeyPair,
    FetchSuccessor,
    FormatPublicKey,
    ImportFailed,
    ImportKeyPair,
    KeyPairCreated,
    KeyPairDerived,
    KeyPairImported,
    PrepareRecipient,
    PublicKeyFormatted,
    RecipientPrepared,
    SealPrivateKey,
    Sign,
    Signed,
    SignMessages,
    SuccessorFetched,
)
from services.key.purposes import PURPOSE_RULES
from shared.contracts.key.commands import (
    ArchiveKey,
    BindAuthority,
    CancelRotation,
    CompleteRotation,
    ExpireKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    PrepareKeyImport,
    RevokeKey,
    RotateKey,
    SignBatch,
    TransferKey,
)
from shared.contracts.key.events import (
    AuthorityBound,
    KeyArchived,
    KeyBatchSigned,
    KeyExpired,
    KeyGenerated,
    KeyImported,
    KeyRevoked,
    KeyRotated,
    KeyRotationCancelled,
    KeyRotationCompleted,
    KeySigned,
    KeyTransferred,
    PublicKeyExported,
)
from shared.contracts.key.value_types import (
    Algorithm,
    Approval,
    OwnerKind,
    PrivateKeyFormat,
    Provenance,
    PublicKeyFormat,
    Purpose,
    SignatureAlgorithm,
)
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone
from tests.support.key_states import (
    DERIVE,
    EXPORTED,
    FUTURE,
    HISTORIES,
    ID,
    IMPORT,
    MANAGEMENT,
    OTHER,
    PASSED,
    PEM,
    PREPARED,
    PRINT,
    RECIPIENT,
    ROTATE,
    SIGN,
    generated,
    rotated,
)
from tests.support.scenario import NOON, Scenario

key = Scenario(KEY)
HASH = sha256(SIGN.message).hexdigest()
SIGNING = (Purpose.CERTIFICATE_SIGNING, Purpose.SSH_CERTIFICATE_SIGNING, Purpose.OCSP_SIGNING)
NATS = (Purpose.NATS_OPERATOR, Purpose.NATS_ACCOUNT, Purpose.NATS_USER, Purpose.NATS_SERVER)
ED25519_PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
    "-----END PUBLIC KEY-----\n"
)


def command(algorithm=Algorithm.EC_P256, **more):
    return GenerateKey(key_id=ID, algorithm=algorithm, **more)


def approval(actor, message=SIGN.message, command_id=None):
    command_id = command_id or str(uuid5(NAMESPACE_URL, actor))
    return Approval(actor=actor, message_sha256=sha256(message).hexdigest(), command_id=command_id, at=PASSED)


# -- purposes ----------------------------------------------------------------------
def test_every_purpose_has_its_rules():
    assert PURPOSE_RULES.keys() == set(Purpose)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_is_made_only_of_an_algorithm_that_fits_its_purpose(purpose, algorithm):
    answer = key.given().when(command(algorithm, purpose=purpose))

    if algorithm in PURPOSE_RULES[purpose].algorithms:
        answer.then_performs(CreateKeyPair(key_id=ID, algorithm=algorithm, purpose=purpose))
    else:
        answer.then_rejects(RejectionCode.INVALID, algorithm, purpose)


def test_these_algorithms_fit():
    rsa = {"rsa-2048", "rsa-3072", "rsa-4096"}
    classical = rsa | {"ec-p256", "ec-p384", "ed25519"}

    assert {purpose.value: {*rules.algorithms} for purpose, rules in PURPOSE_RULES.items()} == {
        "certificate-signing": classical | {"ml-dsa-65"},
        "ocsp-signing": classical | {"ml-dsa-65"},
        "ssh-certificate-signing": classical,
        "authentication": classical | {"ml-dsa-65"},
        "digital-signature": classical | {"ml-dsa-65"},
        "card-authentication": classical | {"ml-dsa-65"},
        "key-management": rsa | {"ec-p256", "ec-p384", "x25519"},
        "nats-operator": {"ed25519"},
        "nats-account": {"ed25519"},
        "nats-user": {"ed25519"},
        "nats-server": {"ed25519"},
    }


@pytest.mark.parametrize("purpose", SIGNING)
def test_an_authority_s_key_is_never_exportable(purpose):
    key.given().when(command(purpose=purpose, exportable=True)).then_rejects(
        RejectionCode.NOT_ALLOWED, "never exported"
    )


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.KEY_MANAGEMENT}))
def test_only_key_management_keys_are_escrowable(purpose):
    assert not PURPOSE_RULES[purpose].escrowable
    assert PURPOSE_RULES[Purpose.KEY_MANAGEMENT].escrowable


@pytest.mark.parametrize("purpose", [Purpose.OCSP_SIGNING, Purpose.AUTHENTICATION, Purpose.KEY_MANAGEMENT])
def test_approvals_are_for_keys_whose_signatures_people_can_look_at(purpose):
    key.given().when(command(purpose=purpose, approvals=2)).then_rejects(
        RejectionCode.NOT_ALLOWED, purpose, "without approvals"
    )


def test_a_time_that_has_passed_is_no_time_to_expire():
    key.given().when(command(expires_at=NOON)).then_rejects(RejectionCode.INVALID, "expires_at", "passed")


def test_all_that_is_said_of_a_new_key_is_reported():
    more = {"owner": "Example AG", "owner_kind": OwnerKind.ORGANIZATION, "label": "root", "expires_at": FUTURE}
    asked = command(Algorithm.EC_P384, purpose=Purpose.CERTIFICATE_SIGNING, approvals=2, **more)
    pair = CreateKeyPair(
        key_id=ID,
        algorithm=Algorithm.EC_P384,
        purpose=Purpose.CERTIFICATE_SIGNING,
        exportable=False,
        owner="Example AG",
        label="root",
        owner_kind=OwnerKind.ORGANIZATION,
        expires_at=FUTURE,
        approvals=2,
    )

    key.given().when(asked).then_performs(pair)
    key.given().when(KeyPairCreated(pair, PEM, PRINT)).then(
        KeyGenerated(
            key_id=ID,
            algorithm=Algorithm.EC_P384,
            public_key_pem=PEM,
            fingerprint_sha256=PRINT,
            purpose=Purpose.CERTIFICATE_SIGNING,
            provenance=Provenance.SOFTWARE,
            exportable=False,
            approvals=2,
            **more,
        )
    )


def test_a_key_of_nats_is_told_as_nats_writes_it():
    pair = CreateKeyPair(key_id=ID, algorithm=Algorithm.ED25519, purpose=Purpose.NATS_ACCOUNT)

    answer = key.given().when(KeyPairCreated(pair, ED25519_PEM, PRINT)).answer

    assert answer.nkey.startswith("A")
    assert len(answer.nkey) == 56
    assert len(ed25519_of(ED25519_PEM)) == 32


def test_a_key_that_must_be_approved_does_not_stand_for_one_that_need_not():
    history = generated(purpose=Purpose.DIGITAL_SIGNATURE)

    key.given(history).when(command(approvals=2)).then_rejects(RejectionCode.CONFLICT, "another key_id")


def test_ml_dsa_is_refused_where_it_is_not_allowed():
    pair = CreateKeyPair(key_id=ID, algorithm=Algorithm.ML_DSA_65, purpose=Purpose.DIGITAL_SIGNATURE)

    key.given().when(AlgorithmDisabled(pair, Algorithm.ML_DSA_65)).then_rejects(
        RejectionCode.NOT_ALLOWED, "ml-dsa-65", "ENABLE_ML_DSA=1"
    )


# -- importing and deriving --------------------------------------------------------
TAKE = ImportKeyPair(
    key_id=ID,
    algorithm=Algorithm.EC_P256,
    purpose=Purpose.DIGITAL_SIGNATURE,
    sealed_key=b"sealed",
    public_key_pem=PEM,
    proof=b"proof",
)
DERIVING = DeriveKeyPair(
    key_id=ID,
    algorithm=Algorithm.EC_P256,
    purpose=Purpose.DIGITAL_SIGNATURE,
    sealed_passphrase=b"sealed",
    organization="Example AG",
    path="pki/root/2026",
)


def imported():
    return key.given(PREPARED).when(KeyPairImported(TAKE, PEM, PRINT)).answer


def test_a_key_is_imported_in_two_steps():
    key.given().when(PrepareKeyImport(key_id=ID)).then_performs(PrepareRecipient(ID))
    key.given().when(RecipientPrepared(PrepareRecipient(ID), RECIPIENT)).then(PREPARED)
    key.given(PREPARED).when(IMPORT).then_performs(TAKE)
    assert isinstance(imported(), KeyImported)
    assert imported().provenance is Provenance.IMPORTED
    key.given(PREPARED, imported()).when(SIGN).then_performs(
        Sign(key_id=ID, message=SIGN.message, signature_algorithm=SIGN.signature_algorithm, purpose=SIGN.purpose)
    )


def test_what_was_prepared_is_told_again():
    assert key.given(PREPARED).when(PrepareKeyImport(key_id=ID)).answer == AlreadyDone(
        {"recipient_public_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    )


def test_importing_the_same_key_again_changes_nothing():
    key.given(PREPARED, imported()).when(IMPORT).then_already_done()
    other = IMPORT.model_copy(update={"public_key_pem": ED25519_PEM})
    key.given(PREPARED, imported()).when(other).then_rejects(RejectionCode.CONFLICT, "another key_id")


def test_a_key_that_signs_is_imported_only_with_a_proof():
    bare = IMPORT.model_copy(update={"proof": None})

    key.given(PREPARED).when(bare).then_rejects(RejectionCode.INVALID, "proof is missing", "import_proof")


def test_a_key_that_agrees_can_prove_nothing():
    agreeing = IMPORT.model_copy(update={"algorithm": Algorithm.X25519})

    key.given(PREPARED).when(agreeing).then_rejects(RejectionCode.INVALID, "leave proof out")


def test_what_was_not_prepared_is_not_imported_nor_derived():
    for each in (IMPORT, DERIVE):
        key.given().when(each).then_rejects(RejectionCode.NOT_FOUND, "key.prepare-import first")


def test_what_is_wrong_with_an_imported_key_is_said():
    key.given(PREPARED).when(ImportFailed(TAKE, "public_key_pem is not")).then_rejects(
        RejectionCode.INVALID, "public_key_pem is not"
    )
    key.given(PREPARED).when(ConcurrentKeyPair(TAKE)).then_rejects(RejectionCode.CONFLICT, "another key_id")


def test_a_prepared_id_that_is_revoked_is_void():
    void = key.given(PREPARED).when(RevokeKey(key_id=ID, reason="not needed"))

    void.then(KeyRevoked(key_id=ID, reason="not needed", existed=False))
    key.given(PREPARED, void.answer).when(IMPORT).then_rejects(RejectionCode.CONFLICT, "voided")


def test_a_derived_key_is_told_with_all_that_it_takes_to_make_it_again():
    derivation = derivation_of("Example AG", "pki/root/2026")

    key.given(PREPARED).when(DERIVE).then_performs(DERIVING)
    told = (
        key.given(PREPARED)
        .when(KeyPairDerived(request=DERIVING, public_key_pem=PEM, fingerprint_sha256=PRINT, derivation=derivation))
        .answer
    )

    assert (told.provenance, told.derivation) == (Provenance.DERIVED, derivation)
    key.given(PREPARED, told).when(DERIVE).then_already_done()
    elsewhere = DERIVE.model_copy(update={"path": "pki/root/2027"})
    key.given(PREPARED, told).when(elsewhere).then_rejects(RejectionCode.CONFLICT, "another key_id")


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096])
def test_rsa_keys_are_not_derived(algorithm):
    rsa = DERIVE.model_copy(update={"algorithm": algorithm})

    key.given(PREPARED).when(rsa).then_rejects(RejectionCode.INVALID, algorithm, "EC or Edwards")


# -- signing -----------------------------------------------------------------------
CAREFUL = generated(approvals=2)


@pytest.mark.parametrize(
    ("approvals", "missing"),
    [
        ((), 2),
        ((approval("ada"),), 1),
        ((approval("ada"), approval("ada")), 1),
        ((approval("ada"), approval("Ada")), 1),  # one person, however they spell themselves
        ((approval("ada", command_id=OTHER), approval("bob", command_id=OTHER)), 1),  # one command is one person's
        ((approval("ada"), approval("bob", b"another message")), 1),
    ],
    ids=["none", "one", "one twice", "one in two spellings", "two by one command", "one of another message"],
)
def test_without_enough_approvals_nothing_is_signed(approvals, missing):
    answer = key.given(CAREFUL).when(SIGN.model_copy(update={"approvals": approvals}))

    answer.then_rejects(RejectionCode.NOT_ALLOWED, "2 different people", f"{missing} of them", "missing")
    assert answer.answer.details["message_sha256"] == HASH
    assert answer.answer.details["missing"] == missing


def test_with_enough_approvals_it_is_signed_and_told_by_whom():
    given = (approval("ada"), approval("bob"), approval("ada"))

    request = Sign(
        key_id=ID,
        message=SIGN.message,
        signature_algorithm=SIGN.signature_algorithm,
        purpose=SIGN.purpose,
        approved_by=("ada", "bob"),
    )
    key.given(CAREFUL).when(SIGN.model_copy(update={"approvals": given})).then_performs(request)
    key.given(CAREFUL).when(Signed(request, b"signature")).then(
        KeySigned(
            key_id=ID,
            signature=b"signature",
            signature_algorithm=SIGN.signature_algorithm,
            message_sha256=HASH,
            purpose=SIGN.purpose,
            approved_by=("ada", "bob"),
        )
    )


OCSP = generated(purpose=Purpose.OCSP_SIGNING, exportable=False)
BATCH = SignBatch(
    key_id=ID,
    messages=(b"one", b"two"),
    signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
    purpose=Purpose.OCSP_SIGNING,
)


def test_status_answers_are_signed_many_at_once():
    request = SignMessages(
        key_id=ID,
        messages=(b"one", b"two"),
        signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
        purpose=Purpose.OCSP_SIGNING,
    )

    key.given(OCSP).when(BATCH).then_performs(request)
    key.given(OCSP).when(BatchSigned(request, (b"first", b"second"))).then(
        KeyBatchSigned(
            key_id=ID,
            signatures=(b"first", b"second"),
            signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
            messages_sha256=(sha256(b"one").hexdigest(), sha256(b"two").hexdigest()),
            purpose=Purpose.OCSP_SIGNING,
        )
    )


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.OCSP_SIGNING, Purpose.KEY_MANAGEMENT}))
def test_a_key_of_any_other_purpose_signs_one_thing_at_a_time(purpose):
    history, batch = generated(purpose=purpose), BATCH.model_copy(update={"purpose": purpose})

    key.given(history).when(batch).then_rejects(RejectionCode.NOT_ALLOWED, purpose, "one message at a time")


def test_a_batch_is_never_for_a_key_whose_signatures_are_approved():
    history = OCSP.model_copy(update={"approvals": 1})

    key.given(history).when(BATCH).then_rejects(RejectionCode.NOT_ALLOWED, "needs approvals")


def test_a_key_signs_nothing_from_the_moment_that_it_expires():
    history = generated(expires_at=NOON + timedelta(hours=1))
    last, after = NOON + timedelta(minutes=59), NOON + timedelta(hours=1)

    key.given(history).when(SIGN, at=last).then_performs(
        Sign(key_id=ID, message=SIGN.message, signature_algorithm=SIGN.signature_algorithm, purpose=SIGN.purpose)
    )
    key.given(history).when(SIGN, at=after).then_rejects(
        RejectionCode.CONFLICT, "expired on 2026-11-21T13:00:00+00:00", "use another"
    )


# -- being handed on ---------------------------------------------------------------
def test_a_key_is_exported_in_the_form_that_is_asked_for():
    certificates = ("-----BEGIN CERTIFICATE-----\n",)
    ask = ExportKey(
        key_id=ID,
        recipient_public_key=RECIPIENT,
        format=PrivateKeyFormat.PKCS12,
        certificates_pem=certificates,
    )

    request = SealPrivateKey(
        key_id=ID, recipient_public_key=RECIPIENT, format=PrivateKeyFormat.PKCS12, certificates_pem=certificates
    )
    key.given(generated()).when(ask).then_performs(request)
    key.given(generated()).when(CertificatesInvalid(request, "of another key")).then_rejects(
        RejectionCode.INVALID, "of another key"
    )


def test_only_a_pkcs12_holds_certificates():
    ask = ExportKey(key_id=ID, recipient_public_key=RECIPIENT, certificates_pem=("-----BEGIN CERTIFICATE-----\n",))

    key.given(generated()).when(ask).then_rejects(RejectionCode.INVALID, "pkcs12")


@pytest.mark.parametrize("purpose", NATS)
def test_a_key_of_nats_leaves_as_a_seed_too(purpose):
    ask = ExportKey(key_id=ID, recipient_public_key=RECIPIENT, format=PrivateKeyFormat.NKEY_SEED)

    key.given(generated(Algorithm.ED25519, purpose)).when(ask).then_performs(
        SealPrivateKey(key_id=ID, recipient_public_key=RECIPIENT, format=PrivateKeyFormat.NKEY_SEED)
    )
    key.given(generated(Algorithm.ED25519)).when(ask).then_rejects(RejectionCode.INVALID, "only a NATS key")


def test_a_public_key_is_shown_in_the_form_that_is_asked_for():
    ask = ExportPublicKey(key_id=ID, format=PublicKeyFormat.JWK)

    key.given(generated()).when(ask).then_performs(FormatPublicKey(ask, PEM, Purpose.DIGITAL_SIGNATURE))
    key.given(generated()).when(PublicKeyFormatted(ask, "{}")).then(
        PublicKeyExported(key_id=ID, format=PublicKeyFormat.JWK, public_key="{}")
    )


@pytest.mark.parametrize(
    ("history", "form"),
    [
        (generated(), PublicKeyFormat.NKEY),
        (MANAGEMENT, PublicKeyFormat.SSH),
        (generated(Algorithm.ML_DSA_65), PublicKeyFormat.SSH),
    ],
)
def test_a_form_that_a_key_does_not_have_is_refused(history, form):
    key.given(history).when(ExportPublicKey(key_id=ID, format=form)).then_rejects(RejectionCode.INVALID, ID)


# -- authorities -------------------------------------------------------------------
def test_a_certificate_signing_key_is_bound_to_the_certificate_that_it_signs_for():
    pem = "-----BEGIN CERTIFICATE-----\n"
    authority = generated(purpose=Purpose.CERTIFICATE_SIGNING, exportable=False)

    key.given(authority).when(BindAuthority(key_id=ID, certificate_pem=pem)).then_performs(BindCertificate(ID, pem))
    key.given(authority).when(CaCertificateRegistered(BindCertificate(ID, pem), PRINT)).then(
        AuthorityBound(key_id=ID, certificate_pem=pem, fingerprint_sha256=PRINT)
    )


# -- rotation ----------------------------------------------------------------------
def fetched(*history):
    state = KEY.initial
    for event in history:
        state = KEY.evolve(state, event)
    return SuccessorFetched(ROTATE, state)


def test_a_key_gives_way_to_its_successor_with_an_overlap():
    key.given(generated()).when(ROTATE).then_performs(FetchSuccessor(ROTATE))
    key.given(generated()).when(fetched(generated(key_id=OTHER))).then(
        KeyRotated(key_id=ID, successor_id=OTHER, overlap_until=NOON + timedelta(days=30), reason="yearly")
    )


def test_in_the_overlap_the_old_key_still_signs():
    key.given(generated(), rotated(FUTURE)).when(SIGN).then_performs(
        Sign(key_id=ID, message=SIGN.message, signature_algorithm=SIGN.signature_algorithm, purpose=SIGN.purpose)
    )


def test_a_key_does_not_follow_itself():
    itself = RotateKey(key_id=ID, successor_id=ID)

    key.given(generated()).when(itself).then_rejects(RejectionCode.INVALID, "its own successor")


@pytest.mark.parametrize(
    ("successor", "code", "word"),
    [
        ("unborn", RejectionCode.NOT_FOUND, "generate it first"),
        ("prepared", RejectionCode.NOT_FOUND, "generate it first"),
        ("rotated", RejectionCode.CONFLICT, "is being replaced"),
        ("escrowed", RejectionCode.CONFLICT, "escrowed"),
        ("revoked", RejectionCode.CONFLICT, "revoked"),
        ("destroyed", RejectionCode.CONFLICT, "destroyed"),
        ("voided", RejectionCode.CONFLICT, "voided"),
    ],
)
def test_only_a_key_in_use_follows_another(successor, code, word):
    key.given(generated()).when(fetched(*HISTORIES[successor])).then_rejects(code, OTHER, word)


def test_a_successor_is_for_the_same_purpose_and_has_not_expired():
    other = generated(purpose=Purpose.AUTHENTICATION)
    key.given(generated()).when(fetched(other)).then_rejects(RejectionCode.CONFLICT, "authentication", "same purpose")
    key.given(generated()).when(fetched(generated(expires_at=PASSED))).then_rejects(
        RejectionCode.CONFLICT, "expired on"
    )


def test_a_key_that_is_over_by_the_time_its_successor_is_read_is_not_rotated():
    history = HISTORIES["revoked"]

    key.given(*history).when(fetched(generated(key_id=OTHER))).then_rejects(RejectionCode.CONFLICT, "revoked")


def test_naming_the_same_successor_again_changes_nothing_and_another_is_refused():
    key.given(generated(), rotated()).when(ROTATE).then_already_done()
    another = RotateKey(key_id=ID, successor_id="0192f0c1-0000-7000-8000-00000000000c")
    key.given(generated(), rotated()).when(another).then_rejects(RejectionCode.CONFLICT, OTHER, "cancel-rotation")


def test_a_rotation_is_complete_when_the_overlap_has_passed():
    complete = CompleteRotation(key_id=ID)

    early = key.given(generated(), rotated(FUTURE)).when(complete)
    early.then_rejects(RejectionCode.CONFLICT, "2026-11-22T12:00:00+00:00")
    assert not early.answer.retryable
    done = KeyRotationCompleted(key_id=ID, successor_id=OTHER)
    key.given(generated(), rotated(FUTURE)).when(complete, at=FUTURE).then(done)
    key.given(generated(), rotated(), done).when(complete).then_already_done()
    key.given(generated(), rotated(), done).when(SIGN).then_rejects(RejectionCode.CONFLICT, "replaced")


def test_a_rotation_that_is_cancelled_leaves_the_key_as_it_was():
    cancelled = KeyRotationCancelled(key_id=ID, reason="kept")

    key.given(generated(), rotated()).when(CancelRotation(key_id=ID, reason="kept")).then(cancelled)
    history = (generated(), EXPORTED, rotated(), cancelled)
    key.given(*history).when(ROTATE).then_performs(FetchSuccessor(ROTATE))


# -- the end -----------------------------------------------------------------------
def test_a_key_expires_at_its_time_and_not_before():
    history = generated(expires_at=FUTURE)
    end = ExpireKey(key_id=ID)

    key.given(history).when(end).then_rejects(RejectionCode.CONFLICT, "2026-11-22T12:00:00+00:00")
    key.given(history).when(end, at=FUTURE).then(KeyExpired(key_id=ID))
    key.given(history, KeyExpired(key_id=ID)).when(end, at=FUTURE).then_already_done()
    key.given(generated()).when(end).then_rejects(RejectionCode.CONFLICT, "has no expires_at")


@pytest.mark.parametrize("state", ["revoked", "expired", "replaced"])
def test_what_is_over_is_put_away_and_then_only_destroyed(state):
    history = (*HISTORIES[state], KeyArchived(key_id=ID))

    key.given(*HISTORIES[state]).when(ArchiveKey(key_id=ID)).then(KeyArchived(key_id=ID))
    key.given(*history).when(RevokeKey(key_id=ID)).then_rejects(RejectionCode.CONFLICT, "can only be destroyed")
    key.given(*history).when(RevokeKey(key_id=ID, void_if_absent=True)).then_already_done()


def test_an_organisation_s_key_changes_hands():
    command = TransferKey(key_id=ID, owner="Unit 7", owner_kind=OwnerKind.UNIT)
    told = KeyTransferred(key_id=ID, from_owner="Example AG", to_owner="Unit 7", to_owner_kind=OwnerKind.UNIT)

    key.given(generated()).when(command).then(told)
    key.given(generated(), told).when(command).then_already_done()


@pytest.mark.parametrize("owner_kind", [OwnerKind.PERSON, None])
def test_a_person_s_own_key_never_changes_hands(owner_kind):
    command = TransferKey(key_id=ID, owner="Unit 7", owner_kind=OwnerKind.UNIT)

    key.given(generated(owner_kind=owner_kind)).when(command).then_rejects(
        RejectionCode.NOT_ALLOWED, "cannot be transferred"
    )


def test_no_key_becomes_a_person_s_own():
    command = TransferKey(key_id=ID, owner="ada", owner_kind=OwnerKind.PERSON)

    key.given(generated()).when(command).then_rejects(RejectionCode.NOT_ALLOWED, "cannot be transferred to one")
