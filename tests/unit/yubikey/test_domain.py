"""The YubiKey service's decisions."""

from functools import reduce

import pytest
from pydantic import ValidationError

from services.yubikey.core.domain import YUBIKEY
from services.yubikey.core.effects import (
    Attest,
    Attested,
    CertificatePut,
    EffectFailed,
    EmptySlot,
    FetchSealingKey,
    GenerateInSlot,
    ImportKeyIntoSlot,
    NotAttested,
    PutCertificate,
    ReadSlot,
    SealingKeyFetched,
    SlotContents,
    SlotEmptied,
    SlotFilled,
    StoredCertificate,
)
from services.yubikey.core.states import MAX_VOIDED_KEY_IDS, Device
from shared.contracts.key.value_types import Algorithm, Provenance
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slots import (
    AttestSlot,
    ClearSlot,
    GenerateSlotKey,
    ImportPrepared,
    ImportSlotCertificate,
    ImportSlotKey,
    PinPolicy,
    PrepareImport,
    Slot,
    SlotAttestationFailed,
    SlotAttested,
    SlotCertificateImported,
    SlotCleared,
    SlotPopulated,
    SlotVerified,
    TouchPolicy,
    VerifySlot,
)
from shared.messages.ids import derive_id
from tests.support.scenario import COMMAND_ID, Scenario

SERIAL, SLOT = "42000001", Slot.AUTHENTICATION
KEY, OTHER = "0192f0c1-0000-7000-8000-00000000000a", "0192f0c1-0000-7000-8000-00000000000b"
PEM, OTHER_PEM = "-----BEGIN PUBLIC KEY-----\n1", "-----BEGIN PUBLIC KEY-----\n2"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n1"
FINGERPRINT, OTHER_FINGERPRINT = "a" * 64, "b" * 64
P256, PIN, TOUCH = Algorithm.EC_P256, PinPolicy.ONCE, TouchPolicy.NEVER
YUBIKEYS = Scenario(YUBIKEY)

AT = {"serial": SERIAL, "slot": SLOT}
REPORTED = {**AT, "simulated": True}
POLICIES = {"pin_policy": PIN, "touch_policy": TOUCH}
FILL = {"operation_id": str(COMMAND_ID), "algorithm": P256, **POLICIES}
FILLED = {"simulated": True, "public_key_pem": PEM, "fingerprint_sha256": FINGERPRINT, **POLICIES}


def generate(key_id=KEY, algorithm=P256, **rest):
    return GenerateSlotKey(**AT, algorithm=algorithm, pin_policy=PIN, touch_policy=TOUCH, key_id=key_id, **rest)


def import_key(key_id=KEY, algorithm=P256, **rest):
    return ImportSlotKey(
        **AT, algorithm=algorithm, pin_policy=PIN, touch_policy=TOUCH, key_id=key_id, sealed_key=b"sealed", **rest
    )


def generating(key_id=KEY, replace=False):  # noqa: FBT002 - as the effect has it
    return GenerateInSlot(**AT, **FILL, key_id=key_id, replace=replace)


def importing(key_id=KEY, replace=False):  # noqa: FBT002 - as the effect has it
    return ImportKeyIntoSlot(**AT, **FILL, key_id=key_id, replace=replace, sealed_key=b"sealed")


def populated(key_id=KEY, **rest):
    facts = {
        "algorithm": P256,
        "provenance": Provenance.ON_DEVICE,
        "public_key_pem": PEM,
        "fingerprint_sha256": FINGERPRINT,
        "attestation": CERTIFICATE,
        "pin_policy": PIN,
        "touch_policy": TOUCH,
        "replaced": False,
    }
    return SlotPopulated(**REPORTED, key_id=key_id, **(facts | rest))


def cleared(key_id=KEY, really=True):  # noqa: FBT002 - the field's values
    return SlotCleared(**REPORTED, key_id=key_id, cleared=really)


def emptying(key_id=KEY, public_key_pem=None):
    return EmptySlot(**AT, operation_id=str(COMMAND_ID), key_id=key_id, public_key_pem=public_key_pem)


def device_after(*history) -> Device:
    return reduce(YUBIKEY.evolve, history, YUBIKEY.initial)


FILLING = pytest.mark.parametrize(("command", "effect"), [(generate, generating), (import_key, importing)])
ANY_FILLING = pytest.mark.parametrize("command", [generate, import_key])


class TestFillingASlot:
    @FILLING
    def test_an_empty_slot_is_filled(self, command, effect):
        YUBIKEYS.when(command()).then_performs(effect())

    @ANY_FILLING
    def test_an_occupied_slot_is_not_overwritten_unasked(self, command):
        answer = YUBIKEYS.given(populated(OTHER)).when(command())

        answer.then_rejects(RejectionCode.CONFLICT, "slot 9a", OTHER, "replace")

    @FILLING
    def test_an_occupied_slot_is_overwritten_when_asked(self, command, effect):
        YUBIKEYS.given(populated(OTHER)).when(command(replace=True)).then_performs(effect(replace=True))

    @FILLING
    def test_another_slot_may_hold_what_it_likes(self, command, effect):
        elsewhere = populated(OTHER).model_copy(update={"slot": Slot.SIGNATURE})

        YUBIKEYS.given(elsewhere).when(command()).then_performs(effect())

    @ANY_FILLING
    def test_the_same_key_in_the_same_slot_stands(self, command):
        YUBIKEYS.given(populated()).when(command()).then_already_done()
        YUBIKEYS.given(populated()).when(command(replace=True)).then_already_done()

    @FILLING
    def test_a_key_that_was_undone_before_it_was_done_never_comes(self, command, effect):
        undone = YUBIKEYS.given(cleared(really=False))

        undone.when(command()).then_rejects(RejectionCode.CONFLICT, "undone before it arrived")
        undone.when(command(replace=True)).then_rejects(RejectionCode.CONFLICT, KEY)
        undone.when(command(OTHER)).then_performs(effect(OTHER))

    @FILLING
    def test_a_cleared_slot_is_free(self, command, effect):
        YUBIKEYS.given(populated(OTHER), cleared(OTHER)).when(command()).then_performs(effect())
        YUBIKEYS.given(populated(OTHER), cleared(None)).when(command()).then_performs(effect())

    @FILLING
    def test_what_was_cleared_without_a_key_id_may_come_again(self, command, effect):
        YUBIKEYS.given(populated(), cleared(None)).when(command()).then_performs(effect())


def test_a_key_id_that_nobody_chose_is_derived_from_the_command():
    YUBIKEYS.when(generate(None)).then_performs(generating(str(derive_id(COMMAND_ID, "key_id"))))


@pytest.mark.parametrize("command", [generate, import_key])
def test_an_algorithm_that_no_device_can_do_is_refused_before_a_device_is_asked(command):
    wish = command(algorithm=Algorithm.ML_DSA_65)

    YUBIKEYS.when(wish).then_rejects(RejectionCode.INVALID, "YubiKeys do not support ml-dsa-65")


def test_what_the_device_generated_populates_the_slot():
    outcome = SlotFilled(effect=generating(), **FILLED, attestation=CERTIFICATE, replaced=False)

    YUBIKEYS.when(outcome).then(populated())


def test_an_imported_key_populates_the_slot_without_an_attestation():
    outcome = SlotFilled(effect=importing(), **FILLED, attestation=None, replaced=True)

    YUBIKEYS.when(outcome).then(populated(provenance=Provenance.IMPORTED, attestation=None, replaced=True))


@pytest.mark.parametrize("retryable", [True, False])
def test_what_the_world_refuses_is_refused_in_its_words(retryable):
    refused = EffectFailed(RejectionCode.UNAVAILABLE, "YubiKey 42000001 is not plugged in", retryable)

    answer = YUBIKEYS.given(populated()).when(refused)

    answer.then_rejects(RejectionCode.UNAVAILABLE, "not plugged in")
    assert answer.answer.retryable == retryable


def test_an_import_is_prepared_with_the_key_to_seal_to():
    YUBIKEYS.when(PrepareImport(**AT)).then_performs(FetchSealingKey(SERIAL, SLOT))

    outcome = SealingKeyFetched(FetchSealingKey(SERIAL, SLOT), simulated=True, recipient_public_key=b"\1" * 32)
    YUBIKEYS.when(outcome).then(ImportPrepared(**REPORTED, recipient_public_key=b"\1" * 32))


def test_an_attestation_that_proves_is_told():
    YUBIKEYS.when(AttestSlot(**AT)).then_performs(Attest(SERIAL, SLOT))

    proven = {
        "public_key_pem": PEM,
        "firmware": "5.7.4",
        "pin_policy": PIN,
        "touch_policy": TOUCH,
        "root_fingerprint_sha256": FINGERPRINT,
    }
    YUBIKEYS.when(Attested(effect=Attest(SERIAL, SLOT), simulated=True, **proven)).then(
        SlotAttested(**REPORTED, **proven)
    )


def test_an_attestation_that_does_not_prove_is_a_fact_too():
    outcome = NotAttested(Attest(SERIAL, SLOT), simulated=False, reason="it was imported")

    YUBIKEYS.when(outcome).then(SlotAttestationFailed(**AT, simulated=False, reason="it was imported"))


def test_a_certificate_is_put_beside_its_key():
    command = ImportSlotCertificate(**AT, certificate_pem=CERTIFICATE)
    imported = SlotCertificateImported(**REPORTED, fingerprint_sha256=FINGERPRINT)
    effect = PutCertificate(SERIAL, SLOT, CERTIFICATE)

    YUBIKEYS.given(populated(), imported).when(command).then_performs(effect)
    YUBIKEYS.when(CertificatePut(effect, simulated=True, fingerprint_sha256=FINGERPRINT)).then(imported)
    assert device_after(populated(), imported).slots[SLOT].certificate_fingerprint == FINGERPRINT
    assert device_after(imported) == Device()  # another program put the key there


class TestVerifyingASlot:
    STORED = StoredCertificate(CERTIFICATE, FINGERPRINT, PEM)

    def found(self, key=PEM, certificate=STORED, expected=None):
        return YUBIKEYS.when(
            SlotContents(
                effect=ReadSlot(SERIAL, SLOT, expected), simulated=True, public_key_pem=key, certificate=certificate
            )
        )

    def test_the_slot_is_read(self):
        command = VerifySlot(**AT, fingerprint_sha256=FINGERPRINT)

        YUBIKEYS.when(command).then_performs(ReadSlot(SERIAL, SLOT, FINGERPRINT))

    @pytest.mark.parametrize("expected", [None, FINGERPRINT])
    def test_what_fits_together_is_verified(self, expected):
        self.found(expected=expected).then(
            SlotVerified(**REPORTED, public_key_pem=PEM, certificate_pem=CERTIFICATE, fingerprint_sha256=FINGERPRINT)
        )

    def test_a_slot_without_a_key_is_refused(self):
        self.found(key=None).then_rejects(RejectionCode.CONFLICT, "no key")

    def test_a_slot_without_a_certificate_is_refused(self):
        self.found(certificate=None).then_rejects(RejectionCode.CONFLICT, "no certificate")

    def test_a_certificate_of_another_key_is_refused(self):
        self.found(key=OTHER_PEM).then_rejects(RejectionCode.CONFLICT, "does not certify the key")

    def test_another_certificate_than_expected_is_refused_naming_both(self):
        self.found(expected=OTHER_FINGERPRINT).then_rejects(RejectionCode.CONFLICT, FINGERPRINT, OTHER_FINGERPRINT)


class TestClearingASlot:
    def test_what_is_there_is_cleared(self):
        YUBIKEYS.given(populated()).when(ClearSlot(**AT)).then_performs(emptying(None))

    def test_for_a_key_that_the_log_knows_there_its_public_key_is_named(self):
        YUBIKEYS.given(populated()).when(ClearSlot(**AT, key_id=KEY)).then_performs(emptying(KEY, PEM))

    def test_for_a_key_that_the_log_does_not_know_there_the_device_decides(self):
        YUBIKEYS.given(populated(OTHER)).when(ClearSlot(**AT, key_id=KEY)).then_performs(emptying(KEY))

    @pytest.mark.parametrize("really", [True, False])
    def test_it_succeeds_whether_or_not_there_was_anything(self, really):
        YUBIKEYS.when(SlotEmptied(effect=emptying(), simulated=True, cleared=really)).then(cleared(KEY, really))

    def test_another_key_in_the_slot_is_left_there(self):
        device = device_after(populated(OTHER), cleared(KEY, really=False))

        assert device.slots[SLOT].key_id == OTHER
        assert device.voided_key_ids == (KEY,)

    def test_a_key_that_other_hands_took_away_is_gone_from_the_log_as_well(self):
        assert device_after(populated(), cleared(KEY, really=False)).slots == {}
        assert device_after(populated(), cleared(None, really=False)).slots == {}

    def test_a_key_that_overwrote_the_logs_takes_it_along(self):
        assert device_after(populated(OTHER), cleared(KEY)).slots == {}

    def test_the_last_voided_keys_are_remembered_each_once(self):
        ids = [f"0192f0c1-0000-7000-8000-{number:012x}" for number in range(MAX_VOIDED_KEY_IDS + 1)]

        device = device_after(*(cleared(key_id) for key_id in ids), cleared(ids[-1]))

        assert device.voided_key_ids == tuple(ids[1:])


def test_a_device_survives_its_snapshot():
    device = device_after(populated(), cleared(OTHER, really=False))

    assert YUBIKEY.states.validate_python(YUBIKEY.states.dump_python(device, mode="json")) == device


def test_the_attestation_slot_can_be_named_in_no_command():
    with pytest.raises(ValidationError):
        ClearSlot(serial=SERIAL, slot="f9")


def test_a_sealed_key_is_not_shown():
    assert "sealed" not in repr(importing())
