"""PIV operations on a device through yubikit, as far as they need no intent (intents need a server)."""

import pytest
from yubikit.piv import DEFAULT_MANAGEMENT_KEY, KEY_TYPE, OBJECT_ID, SLOT

from services.yubikey.core.slots import UNSUPPORTED_ALGORITHMS
from services.yubikey.errors import DeviceAbsentError, DeviceError
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.session import KEY_TYPES, CandidateSecrets, open_piv
from services.yubikey.readers.directory import open_device
from services.yubikey.readers.virtual import VirtualDevices
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slots import PinPolicy, TouchPolicy
from shared.errors import Unusable
from tests.support.yubikeys import OTHER, POLICIES, SERIAL, SLOT_9A, OldDevices, certify, generate, opening, plugged_in

DEFAULT_SECRETS = CandidateSecrets((DEFAULT_MANAGEMENT_KEY,))


@pytest.fixture(name="devices")
def _devices(tmp_path):
    return plugged_in(tmp_path)


class TestASlot:
    def test_it_is_empty_when_the_device_is_new(self, devices):
        with opening(devices) as device:
            found = device.read(SLOT_9A)

        assert found.simulated
        assert (found.key, found.certificate, found.is_occupied(None)) == (None, None, False)

    @pytest.mark.parametrize("algorithm", list(KEY_TYPES))
    def test_a_key_of_every_algorithm_is_generated_in_it(self, devices, algorithm):
        key = generate(devices, algorithm)

        assert key.metadata.generated
        assert (key.pin_policy, key.touch_policy) == POLICIES
        assert key.pem.startswith("-----BEGIN PUBLIC KEY-----")

    def test_filling_it_again_takes_the_old_certificate_away(self, devices):
        old = generate(devices)
        with opening(devices) as device:
            authenticate(device)
            device.put_certificate(SLOT_9A, certify(old.public_key))

        new = generate(devices)

        assert new.fingerprint != old.fingerprint
        with opening(devices) as device:
            assert not device.read(SLOT_9A).has_object

    def test_a_certificate_alone_occupies_it(self, devices):
        key = generate(devices)
        with opening(devices) as device:
            authenticate(device)
            device.put_certificate(SLOT_9A, certify(key.public_key))
            device.session.delete_key(SLOT.AUTHENTICATION)
            found = device.read(SLOT_9A)

            assert found.is_occupied(None)
            assert found.public_key_pem == key.pem
            assert device.empty(SLOT_9A) is None
            assert not device.read(SLOT_9A).is_occupied(None)

    def test_an_unreadable_object_occupies_it(self, devices):
        with opening(devices) as device:
            authenticate(device)
            device.session.put_object(OBJECT_ID.AUTHENTICATION, b"what is this")

            assert device.read(SLOT_9A).is_occupied(None)

    def test_every_certificate_brings_a_new_chuid(self, devices):
        certificate = certify(generate(devices).public_key)
        seen = set()
        for _ in range(2):
            with opening(devices) as device:
                authenticate(device)
                device.put_certificate(SLOT_9A, certificate)
                seen.add(device.session.get_object(OBJECT_ID.CHUID))

        assert len(seen) == 2


class Somebody:
    """A prompter that answers at once, and records its prompts."""

    def __init__(self):
        self.asked = []

    def with_touch(self, serial, slot, operation):
        self.asked.append((serial, slot))
        return operation()

    def with_pin(self, serial, slot, operation):
        self.asked.append((serial, slot, "pin"))
        return operation("123456")


class TestPeople:
    @pytest.mark.parametrize(
        ("touch", "asked"),
        [(TouchPolicy.NEVER, []), (TouchPolicy.ALWAYS, [(SERIAL, "9a")]), (TouchPolicy.CACHED, [(SERIAL, "9a")])],
    )
    def test_they_are_asked_for_a_touch_where_the_keys_policy_asks_for_one(self, devices, touch, asked):
        people = Somebody()
        with open_piv(devices.open(SERIAL), SERIAL, devices, DEFAULT_SECRETS, people) as device:
            authenticate(device)
            device.fill(SLOT_9A, Algorithm.EC_P256, PinPolicy.NEVER, touch, None)

            assert device.use(SLOT_9A, device.read(SLOT_9A).key, lambda: "used") == "used"

        assert people.asked == asked

    def test_they_are_asked_for_a_touch_where_the_management_key_does(self, devices):
        with opening(devices) as device:
            authenticate(device)
            kind = device.session.management_key_type
            device.session.set_management_key(kind, DEFAULT_MANAGEMENT_KEY, require_touch=True)
        people = Somebody()
        with open_piv(devices.open(SERIAL), SERIAL, devices, DEFAULT_SECRETS, people) as device:
            authenticate(device)

        assert people.asked == [(SERIAL, None)]

    def test_they_give_the_pin_and_without_them_there_is_none(self, devices):
        with open_piv(devices.open(SERIAL), SERIAL, devices, DEFAULT_SECRETS, Somebody()) as device:
            device.with_pin(SLOT_9A, device.session.verify_pin)
        with pytest.raises(DeviceError, match="does not store the PIN"), opening(devices) as device:
            device.with_pin(SLOT_9A, device.session.verify_pin)


class TestOlderFirmware:
    def test_a_key_that_cannot_be_deleted_is_destroyed_by_another_for_nobody(self, tmp_path):
        devices = OldDevices(tmp_path / "old", (5, 4, 3))
        key = generate(devices)

        with opening(devices) as device:
            authenticate(device)
            discarded = device.empty(SLOT_9A)
            found = device.read(SLOT_9A)

        assert found.key.fingerprint == discarded != key.fingerprint
        assert not found.is_occupied(discarded)

    @pytest.mark.parametrize("algorithm", [Algorithm.RSA_3072, Algorithm.RSA_4096, Algorithm.ED25519, Algorithm.X25519])
    def test_newer_algorithms_are_refused_in_words(self, tmp_path, algorithm):
        devices = OldDevices(tmp_path / "old", (5, 4, 3))

        with pytest.raises(DeviceError, match=r"5\.7 or later") as refused, opening(devices) as device:
            device.check_support(algorithm, *POLICIES, generate=True)

        assert (refused.value.code, refused.value.retryable) == (RejectionCode.INVALID, False)

    def test_firmware_that_cannot_say_what_is_in_a_slot_is_refused(self, tmp_path):
        devices = OldDevices(tmp_path / "old", (5, 2, 7))

        with pytest.raises(DeviceError, match=r"5\.3 or newer"), opening(devices) as device:
            device.read(SLOT_9A)


class TestRefusals:
    @pytest.mark.parametrize("key", [bytes(24), bytes(32)])
    def test_a_wrong_management_key_is_not_allowed_and_not_told(self, devices, key):
        with pytest.raises(DeviceError, match="management key") as refused, opening(devices, SERIAL, key) as device:
            authenticate(device)

        assert (refused.value.code, refused.value.retryable) == (RejectionCode.NOT_ALLOWED, False)
        assert key.hex() not in str(refused.value)

    def test_the_management_key_is_not_shown(self, devices):
        with opening(devices) as device:
            assert "management_key" not in repr(device)

    def test_writing_unauthenticated_is_not_allowed(self, devices):
        with pytest.raises(DeviceError, match="6982") as refused, opening(devices) as device:
            device.fill(SLOT_9A, Algorithm.EC_P256, *POLICIES, None)

        assert refused.value.code == RejectionCode.NOT_ALLOWED

    def test_a_device_that_is_nowhere_is_absent(self, devices):
        with pytest.raises(DeviceAbsentError) as absent:
            open_device([devices], "7")

        assert (absent.value.code, absent.value.retryable) == (RejectionCode.UNAVAILABLE, True)

    def test_another_device_than_asked_for_is_not_touched(self, devices):
        with pytest.raises(DeviceAbsentError), open_piv(devices.open(OTHER), SERIAL, devices, DEFAULT_MANAGEMENT_KEY):
            pass

    def test_devices_that_do_not_open_with_this_secret_make_the_service_unusable(self, devices, tmp_path):
        devices.open(SERIAL)

        with pytest.raises(Unusable, match="sealing key"):
            VirtualDevices(tmp_path / "virtual", bytes([1] * 32), [SERIAL])


def test_the_type_of_every_algorithm_that_a_yubikey_can_do_is_known():
    assert set(KEY_TYPES) == set(Algorithm) - UNSUPPORTED_ALGORITHMS
    assert KEY_TYPE.RSA1024 not in KEY_TYPES.values()
