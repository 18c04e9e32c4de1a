"""Device effects with intents in a real KEYS_DEVICES: each is idempotent."""

from dataclasses import replace
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yubikit.piv import PivSession

from services.virtual_yubikey import VirtualYubiKeys
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
    SlotEmptied,
    SlotFilled,
)
from services.yubikey.performer.devices import DevicePerformer
from services.yubikey.piv.slots import pem
from services.yubikey.state.intents import BUCKET, Intents
from services.yubikey.state.sealing import SUITE, SealingKey
from shared.contracts.key.value_types import Algorithm, sealing_info
from shared.contracts.rejection import RejectionCode
from shared.errors import Conflict
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.yubikeys import POLICIES, SERIAL, SLOT_9A, OldDevices, certify, generate, keeping, plugged_in

AT = (str(SERIAL), SLOT_9A)
SEALING_KEY = SealingKey(bytes(32))
CONFLICT, INVALID = RejectionCode.CONFLICT, RejectionCode.INVALID


@pytest.fixture(name="intents")
async def _intents(client):
    await declare(client)
    return Intents(KeyValue(client.jetstream(), BUCKET))


@pytest.fixture(name="devices")
def _devices(tmp_path):
    return plugged_in(tmp_path)


@pytest.fixture(name="yubikeys")
def _yubikeys(devices, intents):
    return DevicePerformer([devices], intents, SEALING_KEY, keeping(intents.bucket))


@pytest.fixture(name="generated")
def _generated(monkeypatch):
    """The slots that a device has generated a key in."""
    slots, generate_key = [], PivSession.generate_key

    def generating(session, slot, *rest):
        slots.append(slot)
        return generate_key(session, slot, *rest)

    monkeypatch.setattr(PivSession, "generate_key", generating)
    return slots


def new_id():
    return str(uuid4())


def filling(algorithm, operation_id=None):
    pin, touch = POLICIES
    return {
        "operation_id": operation_id or new_id(),
        "algorithm": algorithm,
        "pin_policy": pin,
        "touch_policy": touch,
    }


def generating(key_id, operation_id=None, algorithm=Algorithm.EC_P256, *, replace=False):
    return GenerateInSlot(*AT, **filling(algorithm, operation_id), key_id=key_id, replace=replace)


def clearing(key_id=None, operation_id=None, public_key_pem=None):
    return EmptySlot(*AT, operation_id=operation_id or new_id(), key_id=key_id, public_key_pem=public_key_pem)


def importing(private_key, key_id, algorithm=Algorithm.EC_P256, *, replace=False, sealed_for=None):
    pkcs8 = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    recipient = X25519PublicKey.from_public_bytes(SEALING_KEY.public)
    sealed = SUITE.encrypt(pkcs8, recipient, sealing_info(sealed_for or key_id))
    return ImportKeyIntoSlot(*AT, **filling(algorithm), key_id=key_id, replace=replace, sealed_key=sealed)


async def cleared(yubikeys, effect):
    outcome = await yubikeys.perform(effect)
    assert isinstance(outcome, SlotEmptied), outcome
    return outcome.cleared


async def refused(yubikeys, effect, code, *words):
    outcome = await yubikeys.perform(effect)
    assert isinstance(outcome, EffectFailed), outcome
    assert outcome.code == code
    for word in words:
        assert word in outcome.message


async def contents(yubikeys):
    return await yubikeys.perform(ReadSlot(*AT, None))


class TestAfterACrash:
    async def test_a_key_that_was_generated_is_reported_and_not_generated_again(self, yubikeys, generated):
        effect = generating(new_id())

        once, again = await yubikeys.perform(effect), await yubikeys.perform(effect)

        assert isinstance(once, SlotFilled)
        assert once == replace(again, attestation=once.attestation)  # the device states it anew each time
        assert len(generated) == 1

    async def test_another_process_finds_out_too(self, devices, intents, yubikeys, generated):
        effect = generating(new_id())
        once = await yubikeys.perform(effect)

        again = await DevicePerformer([devices], intents, SEALING_KEY, keeping(intents.bucket)).perform(effect)

        assert again.public_key_pem == once.public_key_pem
        assert len(generated) == 1

    async def test_a_key_that_was_not_generated_yet_is(self, yubikeys, generated, monkeypatch):
        def dies(*_):
            raise KeyboardInterrupt

        effect = generating(new_id())
        with monkeypatch.context() as patch:
            patch.setattr(PivSession, "generate_key", dies)
            with pytest.raises(KeyboardInterrupt):
                await yubikeys.perform(effect)

        assert isinstance(await yubikeys.perform(effect), SlotFilled)
        assert len(generated) == 1

    async def test_what_was_overwritten_is_still_told_of(self, yubikeys, devices, generated):
        generate(devices)
        effect = generating(new_id(), replace=True)

        outcomes = [await yubikeys.perform(effect) for _ in range(2)]

        assert [outcome.replaced for outcome in outcomes] == [True, True]
        assert len(generated) == 2

    async def test_the_same_key_asked_for_by_another_command_is_the_same(self, yubikeys, generated):
        key_id = new_id()

        once, again = [await yubikeys.perform(generating(key_id)) for _ in range(2)]

        assert once.public_key_pem == again.public_key_pem
        assert len(generated) == 1

    async def test_what_was_cleared_is_still_told_of(self, yubikeys):
        key_id = new_id()
        await yubikeys.perform(generating(key_id))
        effect = clearing(key_id)

        assert await cleared(yubikeys, effect)
        assert await cleared(yubikeys, effect)

    async def test_two_processes_cannot_write_the_same_intent(self, intents):
        intent, revision = await intents.read(*AT)
        await intents.write(*AT, intent, revision)

        with pytest.raises(Conflict):
            await intents.write(*AT, intent, revision)


class TestOccupied:
    async def test_by_a_foreign_key(self, yubikeys, devices):
        foreign = generate(devices)

        await refused(yubikeys, generating(new_id()), CONFLICT, "replace")
        await refused(yubikeys, importing(ec.generate_private_key(ec.SECP256R1()), new_id()), CONFLICT, "replace")
        assert (await contents(yubikeys)).public_key_pem == foreign.pem

    async def test_replaced_when_asked(self, yubikeys, devices):
        foreign = generate(devices)

        outcome = await yubikeys.perform(generating(new_id(), replace=True))

        assert outcome.replaced
        assert outcome.public_key_pem != foreign.pem

    async def test_the_same_key_id_with_another_algorithm_does_not_pass_for_it(self, yubikeys):
        key_id = new_id()
        await yubikeys.perform(generating(key_id))

        await refused(yubikeys, generating(key_id, algorithm=Algorithm.EC_P384), CONFLICT)


class TestClearing:
    async def test_what_is_there_goes(self, yubikeys, devices):
        generate(devices)

        assert await cleared(yubikeys, clearing())
        assert (await contents(yubikeys)).public_key_pem is None
        assert not await cleared(yubikeys, clearing())

    async def test_for_a_key_only_its_own_goes(self, yubikeys):
        mine, other = new_id(), new_id()
        outcome = await yubikeys.perform(generating(mine))

        assert not await cleared(yubikeys, clearing(other))
        assert (await contents(yubikeys)).public_key_pem == outcome.public_key_pem
        assert await cleared(yubikeys, clearing(mine))
        assert (await contents(yubikeys)).public_key_pem is None

    async def test_a_foreign_key_stays_whatever_was_meant_to_replace_it(self, yubikeys, devices):
        foreign = generate(devices)
        key_id = new_id()
        await refused(yubikeys, generating(key_id), CONFLICT)

        assert not await cleared(yubikeys, clearing(key_id))
        assert (await contents(yubikeys)).public_key_pem == foreign.pem

    async def test_a_foreign_key_in_the_place_of_what_the_log_knows_stays(self, yubikeys, devices):
        key_id = new_id()
        outcome = await yubikeys.perform(generating(key_id))
        foreign = generate(devices)

        assert not await cleared(yubikeys, clearing(key_id, public_key_pem=outcome.public_key_pem))
        assert (await contents(yubikeys)).public_key_pem == foreign.pem

    async def test_a_foreign_key_that_came_after_the_clearing_stays(self, yubikeys, devices):
        key_id = new_id()
        await yubikeys.perform(generating(key_id))
        await cleared(yubikeys, clearing(key_id))
        foreign = generate(devices)

        assert not await cleared(yubikeys, clearing(key_id))
        assert (await contents(yubikeys)).public_key_pem == foreign.pem

    async def test_what_the_log_knows_goes_even_without_an_intent(self, yubikeys, devices):
        key = generate(devices)

        assert await cleared(yubikeys, clearing(new_id(), public_key_pem=key.pem))

    @pytest.mark.parametrize("before", [True, False])
    async def test_a_key_that_was_undone_never_comes(self, yubikeys, generated, before):
        key_id = new_id()
        if before:
            await yubikeys.perform(generating(key_id))
        await cleared(yubikeys, clearing(key_id))

        await refused(yubikeys, generating(key_id), CONFLICT, "undone")
        assert len(generated) == before

    async def test_with_older_firmware_the_slot_is_free_again(self, tmp_path, intents):
        yubikeys = DevicePerformer(
            [OldDevices(tmp_path / "old", (5, 4, 3))], intents, SEALING_KEY, keeping(intents.bucket)
        )
        key_id = new_id()
        await yubikeys.perform(generating(key_id))

        assert await cleared(yubikeys, clearing(key_id))
        assert not await cleared(yubikeys, clearing())
        assert not (await yubikeys.perform(generating(new_id()))).replaced


class TestImporting:
    @pytest.mark.parametrize(
        ("private_key", "algorithm"),
        [
            (ec.generate_private_key(ec.SECP256R1()), Algorithm.EC_P256),
            (rsa.generate_private_key(65537, 2048), Algorithm.RSA_2048),
        ],
    )
    async def test_a_sealed_key_comes_into_the_slot(self, yubikeys, private_key, algorithm):
        effect = importing(private_key, new_id(), algorithm)

        outcomes = [await yubikeys.perform(effect) for _ in range(2)]

        assert outcomes[0] == outcomes[1]
        assert outcomes[0].attestation is None
        assert (await contents(yubikeys)).public_key_pem == outcomes[0].public_key_pem
        assert isinstance(await yubikeys.perform(Attest(*AT)), NotAttested)

    async def test_the_key_to_seal_to_is_told_for_devices_that_are_there(self, yubikeys):
        assert (await yubikeys.perform(FetchSealingKey(*AT))).recipient_public_key == SEALING_KEY.public
        await refused(yubikeys, FetchSealingKey("7", SLOT_9A), RejectionCode.UNAVAILABLE, "not plugged in")

    async def test_what_does_not_open_or_is_of_another_kind_is_invalid(self, yubikeys):
        private_key = ec.generate_private_key(ec.SECP256R1())

        await refused(yubikeys, importing(private_key, new_id(), sealed_for=new_id()), INVALID, "does not open")
        await refused(yubikeys, importing(private_key, new_id(), Algorithm.RSA_2048), INVALID, "rsa-2048")
        unheard_of = ec.generate_private_key(ec.SECP521R1())
        await refused(yubikeys, importing(unheard_of, new_id()), INVALID, "ec-p256")
        assert (await contents(yubikeys)).public_key_pem is None


class TestCertificates:
    async def test_one_of_the_slots_key_is_put_there_twice_if_need_be(self, yubikeys):
        filled = await yubikeys.perform(generating(new_id()))
        certificate = certify(public_key_of(filled))

        for _ in range(2):
            outcome = await yubikeys.perform(PutCertificate(*AT, pem(certificate)))
            assert isinstance(outcome, CertificatePut)

        found = await contents(yubikeys)
        assert found.certificate.pem == pem(certificate)
        assert found.certificate.public_key_pem == found.public_key_pem == filled.public_key_pem
        assert found.certificate.fingerprint_sha256 == outcome.fingerprint_sha256

    async def test_one_of_another_key_is_refused(self, yubikeys):
        await yubikeys.perform(generating(new_id()))
        other = certify(ec.generate_private_key(ec.SECP256R1()).public_key())

        await refused(yubikeys, PutCertificate(*AT, pem(other)), CONFLICT, "does not certify the key")
        assert (await contents(yubikeys)).certificate is None

    async def test_one_for_an_empty_slot_is_refused(self, yubikeys):
        certificate = certify(ec.generate_private_key(ec.SECP256R1()).public_key())

        await refused(yubikeys, PutCertificate(*AT, pem(certificate)), CONFLICT, "no key")

    async def test_what_is_no_certificate_is_invalid(self, yubikeys):
        await refused(yubikeys, PutCertificate(*AT, "-----BEGIN CERTIFICATE-----\nno"), INVALID, "certificate_pem")


async def test_a_key_that_the_device_made_is_attested(yubikeys, devices):
    assert (await yubikeys.perform(Attest(*AT))).reason == "slot 9a has no key"
    filled = await yubikeys.perform(generating(new_id()))

    outcome = await yubikeys.perform(Attest(*AT))

    assert isinstance(outcome, Attested)
    assert outcome.public_key_pem == filled.public_key_pem
    statement, device = x509.load_pem_x509_certificates(filled.attestation.encode())
    statement.verify_directly_issued_by(device)
    device.verify_directly_issued_by(devices.trust.roots[0])


async def test_a_device_under_another_root_is_not_attested(yubikeys, devices, tmp_path):
    await yubikeys.perform(generating(new_id()))
    elsewhere = VirtualYubiKeys(tmp_path / "elsewhere", bytes(32), [SERIAL])
    devices.trust = type(devices.trust)((elsewhere.attestation_root(),))

    assert "no root" in (await yubikeys.perform(Attest(*AT))).reason


async def test_refusals_leave_no_intent(yubikeys, devices, intents):
    generate(devices)
    await refused(yubikeys, generating(new_id()), CONFLICT)
    wrong = DevicePerformer([devices], intents, SEALING_KEY, keeping(intents.bucket, bytes(24)))
    await refused(wrong, generating(new_id(), replace=True), RejectionCode.NOT_ALLOWED, "management key")

    assert (await intents.read(*AT))[1] == 0


def public_key_of(filled):
    statement, _ = x509.load_pem_x509_certificates(filled.attestation.encode())
    return statement.public_key()


async def test_what_is_cleared_says_whether_it_had_overwritten_something(yubikeys):
    mine, theirs = new_id(), new_id()
    await yubikeys.perform(generating(theirs))
    await yubikeys.perform(generating(mine, replace=True))
    undoing = clearing(mine)

    first, again = await yubikeys.perform(undoing), await yubikeys.perform(undoing)
    assert (first.cleared, first.overwrote) == (again.cleared, again.overwrote) == (True, True)
    assert not (await yubikeys.perform(clearing(theirs))).overwrote
