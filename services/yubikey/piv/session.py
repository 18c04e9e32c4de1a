"""An open device, real or virtual, through yubikit: what is in its slots, and how that is changed.

SP 800-73-4 and https://developers.yubico.com/PIV/Introduction/Yubico_extensions.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol, TypeVar

from cryptography import x509
from ykman.piv import generate_chuid
from yubikit.core import ApplicationNotAvailableError, BadResponseError, CommandError, NotSupportedError
from yubikit.core.smartcard import SW, ApduError, SmartCardConnection
from yubikit.piv import (
    KEY_TYPE,
    OBJECT_ID,
    PIN_POLICY,
    SLOT,
    TOUCH_POLICY,
    PivSession,
    PrivateKey,
)

from services.yubikey.errors import DeviceAbsentError, DeviceBusyError, DeviceError
from services.yubikey.piv.attestation import Claim, Proof, prove, spki
from services.yubikey.piv.slots import SlotKey, SlotReading
from services.yubikey.readers.directory import Devices
from services.yubikey.trust import Trust
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy

KEY_TYPES = {
    Algorithm.RSA_2048: KEY_TYPE.RSA2048,
    Algorithm.RSA_3072: KEY_TYPE.RSA3072,
    Algorithm.RSA_4096: KEY_TYPE.RSA4096,
    Algorithm.EC_P256: KEY_TYPE.ECCP256,
    Algorithm.EC_P384: KEY_TYPE.ECCP384,
    Algorithm.ED25519: KEY_TYPE.ED25519,
    Algorithm.X25519: KEY_TYPE.X25519,
}
_METADATA_SINCE = (5, 3, 0)
_DELETE_SINCE = (5, 7, 0)
T = TypeVar("T")
_TOUCHED = (TouchPolicy.ALWAYS, TouchPolicy.CACHED)
_NOTHING_THERE = (SW.FILE_NOT_FOUND, SW.REFERENCE_DATA_NOT_FOUND)


class Prompter(Protocol):
    """Asks the person at a device for a touch or a PIN. Both methods may call *operation* more than once."""

    def with_touch(self, serial: int, slot: Slot | None, operation: Callable[[], T]) -> T:
        """Run *operation*, which needs a touch. Raises DeviceError if nobody touches the device in time."""
        ...

    def with_pin(self, serial: int, slot: Slot | None, operation: Callable[[str], T]) -> T:
        """Run *operation* with the PIN that the person answers. Raises DeviceError if nobody does in time."""
        ...


@dataclass(frozen=True, slots=True)
class CandidateSecrets:
    """Secrets that the service has for a device, the likeliest first."""

    management_keys: tuple[bytes, ...] = field(repr=False)
    pins: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class OpenDevice:
    """A device that is connected and was found to be the one that was asked for."""

    session: PivSession
    serial: int
    simulated: bool
    trust: Trust
    candidates: CandidateSecrets
    prompter: Prompter | None = None

    @property
    def asks_for_touch(self) -> bool:
        """Whether authenticating with the management key takes a touch."""
        if self.session.version < _METADATA_SINCE:
            return False
        return self.session.get_management_key_metadata().touch_policy is not TOUCH_POLICY.NEVER

    def with_touch(self, slot: Slot | None, operation: Callable[[], T]) -> T:
        """Do *operation*, which takes a touch: people are asked for it. It may be done again, so it must be repeatable
        as long as it was refused for want of one (6982); the PIN, where one is wanted, is verified already.
        """
        return operation() if self.prompter is None else self.prompter.with_touch(self.serial, slot, operation)

    def use(self, slot: Slot, key: SlotKey, operation: Callable[[], T]) -> T:
        """Do *operation* with the slot's key, touched where its policy asks for that."""
        return self.with_touch(slot, operation) if key.touch_policy in _TOUCHED else operation()

    def with_pin(self, slot: Slot | None, operation: Callable[[str], T]) -> T:
        """Do *operation* with the PIN, which is not held here: a person is asked for it."""
        if self.prompter is None:
            raise DeviceError(RejectionCode.NOT_ALLOWED, f"the PIN of YubiKey {self.serial} is not held here")
        return self.prompter.with_pin(self.serial, slot, operation)

    def read(self, slot: Slot) -> SlotReading:
        if self.session.version < _METADATA_SINCE:
            # An imported key without a certificate could not be seen, and would be overwritten unnoticed.
            problem = f"firmware {self.session.version} cannot tell what is in a slot; 5.3 or newer is needed"
            raise DeviceError(RejectionCode.INVALID, problem)
        certificate, has_object = self._certificate(slot_of(slot))
        return SlotReading(self.simulated, self._key(slot_of(slot)), certificate, has_object)

    def check_support(self, algorithm: Algorithm, pin: PinPolicy, touch: TouchPolicy, *, generate: bool) -> None:
        key_type = KEY_TYPES[algorithm]
        self.session.check_key_support(key_type, PIN_POLICY[pin.name], TOUCH_POLICY[touch.name], generate)

    def fill(
        self, slot: Slot, algorithm: Algorithm, pin: PinPolicy, touch: TouchPolicy, private_key: PrivateKey | None
    ) -> None:
        """Put *private_key*, or one that the device generates, in the place of what is in the slot.

        The old certificate goes first: of no use with another key, it would be taken for the new one's.
        """
        target, policies = slot_of(slot), (PIN_POLICY[pin.name], TOUCH_POLICY[touch.name])
        if self._certificate(target)[1]:
            self.session.delete_certificate(target)
        if private_key is None:
            self.session.generate_key(target, KEY_TYPES[algorithm], *policies)
        else:
            self.session.put_key(target, private_key, *policies)

    def empty(self, slot: Slot) -> str | None:
        """Delete certificate, then key. Returns the fingerprint of the worthless key that had to be left, if any."""
        target = slot_of(slot)
        if self._certificate(target)[1]:
            self.session.delete_certificate(target)
        if self._key(target) is None:
            return None
        if self.session.version >= _DELETE_SINCE:
            self.session.delete_key(target)
            return None
        # Firmware before 5.7 cannot delete a key: it is destroyed by generating another over it, for nobody.
        return sha256(spki(self.session.generate_key(target, KEY_TYPE.ECCP256))).hexdigest()

    def put_certificate(self, slot: Slot, certificate: x509.Certificate) -> None:
        """Write it, read it back, and change the CHUID: else Windows goes on using the old one (ykman #688)."""
        target = slot_of(slot)
        self.session.put_certificate(target, certificate)
        if self.session.get_certificate(target) != certificate:
            raise DeviceError(RejectionCode.INTERNAL, f"slot {slot} does not return the certificate written to it")
        self.session.put_object(OBJECT_ID.CHUID, generate_chuid())

    def statement(self, slot: Slot) -> tuple[x509.Certificate, x509.Certificate] | None:
        """What the device states of the slot's key, and the certificate it signs that with; None: it states nothing."""
        try:
            return self.session.attest_key(slot_of(slot)), self.session.get_certificate(SLOT.ATTESTATION)
        except (ApduError, BadResponseError, NotSupportedError):
            return None  # an imported key, or the holder did away with the attestation key that the device came with

    def proof(self, slot: Slot, key: SlotKey, statement: tuple[x509.Certificate, x509.Certificate]) -> Proof:
        """Raises NotProvenError."""
        pin_policy, touch_policy = key.metadata.pin_policy, key.metadata.touch_policy
        claim = Claim(self.serial, slot_of(slot), key.public_key, pin_policy, touch_policy)
        return prove(claim, *statement, self.trust)

    def _key(self, slot: SLOT) -> SlotKey | None:
        try:
            metadata = self.session.get_slot_metadata(slot)
        except ApduError as error:
            if error.sw in _NOTHING_THERE:
                return None
            raise
        return SlotKey(metadata.public_key, metadata)

    def _certificate(self, slot: SLOT) -> tuple[x509.Certificate | None, bool]:
        try:
            return self.session.get_certificate(slot), True
        except ApduError as error:
            if error.sw in _NOTHING_THERE:
                return None, False
            raise
        except (BadResponseError, NotSupportedError):
            return None, True


@contextmanager
def opened(
    connection: SmartCardConnection,
    serial: int,
    devices: Devices,
    candidates: CandidateSecrets,
    prompter: Prompter | None = None,
) -> Iterator[OpenDevice]:
    """The device behind *connection*, until the end of the block; what it refuses is raised as DeviceError."""
    with connection:
        try:
            session = PivSession(connection)
            if session.get_serial() != serial:
                raise DeviceAbsentError(serial)  # another was plugged into the same reader meanwhile
            yield OpenDevice(session, serial, devices.simulated, devices.trust, candidates, prompter)
        except NotSupportedError as error:
            raise DeviceError(RejectionCode.INVALID, f"YubiKey {serial} cannot do this: {error}") from error
        except ApplicationNotAvailableError as error:
            raise DeviceError(RejectionCode.NOT_ALLOWED, f"PIV is switched off on YubiKey {serial}") from error
        except ApduError as error:
            raise _refusal(serial, error.sw) from error
        except ConnectionError as error:
            raise _gone(serial) from error
        except ValueError as error:  # what ykman makes of anything that happens while it reads its own data
            match error.__context__:
                case DeviceError() as refused:
                    raise refused from error
                case ConnectionError():
                    raise _gone(serial) from error
                case _:
                    raise
        except CommandError as error:
            problem = f"YubiKey {serial} gave an answer that is not understood ({type(error).__name__})"
            raise DeviceError(RejectionCode.INTERNAL, problem) from error


def _gone(serial: int) -> DeviceBusyError:
    return DeviceBusyError(f"YubiKey {serial} was removed or reset while it was in use")


def _refusal(serial: int, status: int) -> DeviceError:
    match status:
        case SW.SECURITY_CONDITION_NOT_SATISFIED | SW.AUTH_METHOD_BLOCKED:
            problem = "was not given a right or a touch that it asks for"
            return DeviceError(RejectionCode.NOT_ALLOWED, f"YubiKey {serial} {problem} ({status:04x})")
        case SW.NO_SPACE | SW.MEMORY_FAILURE | SW.WRONG_LENGTH:
            return DeviceError(RejectionCode.INVALID, f"YubiKey {serial} has no room for this ({status:04x})")
        case SW.COMMAND_ABORTED:
            return DeviceBusyError(f"YubiKey {serial} broke off ({status:04x})")
        case _:
            problem = f"YubiKey {serial} refuses with status {status:04x} of ISO 7816-4"
            return DeviceError(RejectionCode.INVALID, problem)


def slot_of(slot: Slot) -> SLOT:
    return SLOT(int(slot, 16))
