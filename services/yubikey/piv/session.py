"""A PIV session with an open device, real or virtual: reading, filling and clearing slots through yubikit.

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
from services.yubikey.piv.attestation import Attestation, Claim, spki, verify_attestation
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
_FIRMWARE_WITH_METADATA = (5, 3, 0)
_FIRMWARE_WITH_DELETE = (5, 7, 0)
T = TypeVar("T")
_TOUCH_REQUIRED = (TouchPolicy.ALWAYS, TouchPolicy.CACHED)
_NOT_FOUND = (SW.FILE_NOT_FOUND, SW.REFERENCE_DATA_NOT_FOUND)


class Prompter(Protocol):
    """Requests a touch or a PIN from the person at a device. Both methods may call *operation* more than once."""

    def with_touch(self, serial: int, slot: Slot | None, operation: Callable[[], T]) -> T:
        """Runs *operation*, which needs a touch. Raises DeviceError without a touch in time."""
        ...

    def with_pin(self, serial: int, slot: Slot | None, operation: Callable[[str], T]) -> T:
        """Runs *operation* with the PIN that the person enters. Raises DeviceError without a PIN in time."""
        ...


@dataclass(frozen=True, slots=True)
class CandidateSecrets:
    """Secrets that the service has for a device, the likeliest first."""

    management_keys: tuple[bytes, ...] = field(repr=False)
    pins: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDevice:
    """A connected device whose serial number was checked."""

    session: PivSession
    serial: int
    simulated: bool
    trust: Trust
    candidates: CandidateSecrets
    prompter: Prompter | None = None

    @property
    def management_key_needs_touch(self) -> bool:
        """True if authenticating with the management key needs a touch."""
        if self.session.version < _FIRMWARE_WITH_METADATA:
            return False
        return self.session.get_management_key_metadata().touch_policy is not TOUCH_POLICY.NEVER

    def with_touch(self, slot: Slot | None, operation: Callable[[], T]) -> T:
        """Runs *operation*, which needs a touch, and prompts for it.

        It runs again after each 6982 (security status not satisfied). A PIN, if it needs one, must be verified inside.
        """
        return operation() if self.prompter is None else self.prompter.with_touch(self.serial, slot, operation)

    def use(self, slot: Slot, key: SlotKey, operation: Callable[[], T]) -> T:
        """Runs *operation* with the slot's key, and prompts for a touch if the key's touch policy requires one."""
        return self.with_touch(slot, operation) if key.touch_policy in _TOUCH_REQUIRED else operation()

    def with_pin(self, slot: Slot | None, operation: Callable[[str], T]) -> T:
        """Runs *operation* with a PIN that a person enters: the service stores none."""
        if self.prompter is None:
            raise DeviceError(
                RejectionCode.NOT_ALLOWED, f"this service does not store the PIN of YubiKey {self.serial}"
            )
        return self.prompter.with_pin(self.serial, slot, operation)

    def read(self, slot: Slot) -> SlotReading:
        """Reads key and certificate of *slot*. Raises DeviceError for firmware before 5.3."""
        if self.session.version < _FIRMWARE_WITH_METADATA:
            # An imported key without a certificate would be invisible, and overwritten unnoticed.
            problem = f"firmware {self.session.version} does not report the content of a slot; 5.3 or newer is needed"
            raise DeviceError(RejectionCode.INVALID, problem)
        certificate, has_object = self._certificate(slot_of(slot))
        key = self._key(slot_of(slot))
        return SlotReading(simulated=self.simulated, key=key, certificate=certificate, has_object=has_object)

    def check_support(self, algorithm: Algorithm, pin: PinPolicy, touch: TouchPolicy, *, generate: bool) -> None:
        key_type = KEY_TYPES[algorithm]
        self.session.check_key_support(key_type, PIN_POLICY[pin.name], TOUCH_POLICY[touch.name], generate)

    def fill(
        self, slot: Slot, algorithm: Algorithm, pin: PinPolicy, touch: TouchPolicy, private_key: PrivateKey | None
    ) -> None:
        """Replaces the content of the slot with *private_key*, or with a key that the device generates.

        The old certificate is deleted first: otherwise it would look like the new key's.
        """
        target, policies = slot_of(slot), (PIN_POLICY[pin.name], TOUCH_POLICY[touch.name])
        if self._certificate(target)[1]:
            self.session.delete_certificate(target)
        if private_key is None:
            self.session.generate_key(target, KEY_TYPES[algorithm], *policies)
        else:
            self.session.put_key(target, private_key, *policies)

    def empty(self, slot: Slot) -> str | None:
        """Deletes the certificate, then the key. Returns the fingerprint of the placeholder key that stays, if any."""
        target = slot_of(slot)
        if self._certificate(target)[1]:
            self.session.delete_certificate(target)
        if self._key(target) is None:
            return None
        if self.session.version >= _FIRMWARE_WITH_DELETE:
            self.session.delete_key(target)
            return None
        # Firmware before 5.7 cannot delete a key: a new key that nobody uses overwrites it.
        return sha256(spki(self.session.generate_key(target, KEY_TYPE.ECCP256))).hexdigest()

    def put_certificate(self, slot: Slot, certificate: x509.Certificate) -> None:
        """Writes the certificate, reads it back, and changes the CHUID: then Windows drops its cache (ykman #688)."""
        target = slot_of(slot)
        self.session.put_certificate(target, certificate)
        if self.session.get_certificate(target) != certificate:
            raise DeviceError(RejectionCode.INTERNAL, f"slot {slot} does not return the certificate written to it")
        self.session.put_object(OBJECT_ID.CHUID, generate_chuid())

    def statement(self, slot: Slot) -> tuple[x509.Certificate, x509.Certificate] | None:
        """Attestation statement of the slot's key, and the certificate of F9, which signed it; None: no statement."""
        try:
            return self.session.attest_key(slot_of(slot)), self.session.get_certificate(SLOT.ATTESTATION)
        except (ApduError, BadResponseError, NotSupportedError):
            return None  # an imported key, or the factory attestation key or certificate was overwritten

    def verify_statement(
        self, slot: Slot, key: SlotKey, statement: tuple[x509.Certificate, x509.Certificate]
    ) -> Attestation:
        """Verifies the attestation of a slot's key. Raises AttestationError."""
        claim = Claim(
            serial=self.serial,
            slot=slot_of(slot),
            public_key=key.public_key,
            pin_policy=key.metadata.pin_policy,
            touch_policy=key.metadata.touch_policy,
        )
        return verify_attestation(claim, *statement, self.trust)

    def _key(self, slot: SLOT) -> SlotKey | None:
        try:
            metadata = self.session.get_slot_metadata(slot)
        except ApduError as error:
            if error.sw in _NOT_FOUND:
                return None
            raise
        return SlotKey(metadata.public_key, metadata)

    def _certificate(self, slot: SLOT) -> tuple[x509.Certificate | None, bool]:
        try:
            return self.session.get_certificate(slot), True
        except ApduError as error:
            if error.sw in _NOT_FOUND:
                return None, False
            raise
        except (BadResponseError, NotSupportedError):
            return None, True


@contextmanager
def open_piv(
    connection: SmartCardConnection,
    serial: int,
    devices: Devices,
    candidates: CandidateSecrets,
    prompter: Prompter | None = None,
) -> Iterator[OpenDevice]:
    """Opens a PIV session on *connection*. Errors of the device inside the block become DeviceError."""
    with connection:
        try:
            session = PivSession(connection)
            if session.get_serial() != serial:
                raise DeviceAbsentError(serial)  # the device in this reader has been exchanged
            yield OpenDevice(
                session=session,
                serial=serial,
                simulated=devices.simulated,
                trust=devices.trust,
                candidates=candidates,
                prompter=prompter,
            )
        except NotSupportedError as error:
            raise DeviceError(RejectionCode.INVALID, f"YubiKey {serial} cannot do this: {error}") from error
        except ApplicationNotAvailableError as error:
            raise DeviceError(RejectionCode.NOT_ALLOWED, f"PIV is switched off on YubiKey {serial}") from error
        except ApduError as error:
            raise _status_error(serial, error.sw) from error
        except ConnectionError as error:
            raise _removed(serial) from error
        except ValueError as error:  # ykman wraps any error that happens while it reads its own data objects
            match error.__context__:
                case DeviceError() as original:
                    raise original from error
                case ConnectionError():
                    raise _removed(serial) from error
                case _:
                    raise
        except CommandError as error:
            problem = f"YubiKey {serial} sent a response that yubikit does not understand ({type(error).__name__})"
            raise DeviceError(RejectionCode.INTERNAL, problem) from error


def _removed(serial: int) -> DeviceBusyError:
    return DeviceBusyError(f"YubiKey {serial} was removed or reset while it was in use")


def _status_error(serial: int, status: int) -> DeviceError:
    match status:
        case SW.SECURITY_CONDITION_NOT_SATISFIED | SW.AUTH_METHOD_BLOCKED:
            problem = "requires authentication or a touch"
            return DeviceError(RejectionCode.NOT_ALLOWED, f"YubiKey {serial} {problem} ({status:04x})")
        case SW.NO_SPACE | SW.MEMORY_FAILURE | SW.WRONG_LENGTH:
            return DeviceError(RejectionCode.INVALID, f"YubiKey {serial} has no room for this ({status:04x})")
        case SW.COMMAND_ABORTED:
            return DeviceBusyError(f"YubiKey {serial} aborted the operation ({status:04x})")
        case _:
            problem = f"YubiKey {serial} returned status {status:04x} (ISO 7816-4)"
            return DeviceError(RejectionCode.INVALID, problem)


def slot_of(slot: Slot) -> SLOT:
    return SLOT(int(slot, 16))
