"""Authentication to a device: management key (9B) and PIN. The last attempts of PIN and PUK are never used up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ykman.piv import get_pivman_data, get_pivman_protected_data
from yubikit.core import BadResponseError, InvalidPinError, NotSupportedError
from yubikit.core.smartcard import ApduError

from services.yubikey.errors import DeviceError
from services.yubikey.piv.secret_rules import DEFAULT_PIN
from services.yubikey.piv.session import OpenDevice
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slots import Slot

T = TypeVar("T")


MIN_ATTEMPTS = 2
"""Attempts that a PIN or PUK must have left: with fewer, a wrong value would block it."""


def authenticate(device: OpenDevice) -> None:
    """Authenticates with the management key, of the algorithm that the device reports (AES-192 by default since 5.7).

    A wrong management key costs no attempts. The candidates are tried in order, then the key that the device stores
    under its PIN. Raises DeviceError if none is accepted.
    """
    kind = device.session.management_key_type
    matching = [key for key in dict.fromkeys(device.candidates.management_keys) if len(key) == kind.key_len]
    for key in matching:
        if _accepts(device, key):
            return
    if get_pivman_data(device.session).has_protected_key and device.candidates.pins:
        verify_pin(device)
        protected = get_pivman_protected_data(device.session).key
        if protected is not None and _accepts(device, protected):
            return
    tried = (
        f"has {len(matching)} of that length, and the device accepts none" if matching else "has none of that length"
    )
    problem = f"the management key of YubiKey {device.serial} is {kind.name}, of {kind.key_len} bytes; this service"
    remedy = "send it the key with yubikey.adopt-secrets"
    raise DeviceError(RejectionCode.NOT_ALLOWED, f"{problem} {tried}, or a required touch is missing; {remedy}")


def _accepts(device: OpenDevice, key: bytes) -> bool:
    try:
        if device.management_key_needs_touch:
            device.with_touch(None, lambda: device.session.authenticate(key))
        else:
            device.session.authenticate(key)
    except (ApduError, BadResponseError):
        return False
    return True


def with_pin(device: OpenDevice, slot: Slot | None, operation: Callable[[], T]) -> T:
    """Runs *operation* after verifying the PIN: a stored one, the factory default, or one that a person enters."""
    if device.candidates.pins or pin_is_default(device):
        verify_pin(device)
        return operation()

    def with_prompted_pin(pin: str) -> T:
        _verify(device, pin)
        return operation()

    return device.with_pin(slot, with_prompted_pin)


def verify_pin(device: OpenDevice) -> str:
    """Verifies the stored or default PIN, and returns it. Raises DeviceError if the device has another one."""
    if pin_is_default(device):
        _verify(device, DEFAULT_PIN)
        return DEFAULT_PIN
    candidates = device.candidates.pins or ((DEFAULT_PIN,) if pin_is_default(device) is None else ())
    for pin in candidates[:-1]:
        try:
            _verify(device, pin)
        except DeviceError:
            continue
        return pin
    if not candidates:
        raise missing_secret(device, "PIN")
    _verify(device, candidates[-1])
    return candidates[-1]


def _verify(device: OpenDevice, pin: str) -> None:
    require_attempts(device.session.get_pin_attempts(), device, "PIN")
    try:
        device.session.verify_pin(pin)
    except InvalidPinError as error:
        raise wrong_secret(device, "PIN", error.attempts_remaining) from None


def pin_is_default(device: OpenDevice) -> bool | None:
    """True if the PIN is the factory default; None for firmware before 5.3, which has no metadata."""
    try:
        return device.session.get_pin_metadata().default_value
    except NotSupportedError:
        return None


def puk_is_default(device: OpenDevice) -> bool | None:
    try:
        return device.session.get_puk_metadata().default_value
    except NotSupportedError:
        return None


def require_attempts(left: int, device: OpenDevice, what: str) -> None:
    """Raises DeviceError if a wrong value could block the PIN or PUK."""
    if left == 0:
        remedy = "set another one with yubikey.unblock-pin" if what == "PIN" else "only yubikey.reset helps"
        raise DeviceError(RejectionCode.CONFLICT, f"the {what} of YubiKey {device.serial} is blocked: {remedy}")
    if left < MIN_ATTEMPTS:
        problem = f"the {what} of YubiKey {device.serial} has {left} attempt left, which this service does not use up"
        remedy = "enter it once in another tool" + (", or send yubikey.unblock-pin" if what == "PIN" else "")
        raise DeviceError(RejectionCode.CONFLICT, f"{problem}: {remedy}")


def wrong_secret(device: OpenDevice, what: str, left: int) -> DeviceError:
    problem = f"the stored {what} of YubiKey {device.serial} is wrong; {left} attempts left"
    return DeviceError(RejectionCode.NOT_ALLOWED, f"{problem}: send the right one with yubikey.adopt-secrets")


def missing_secret(device: OpenDevice, what: str) -> DeviceError:
    problem = f"this service does not store the {what} of YubiKey {device.serial}"
    return DeviceError(
        RejectionCode.NOT_ALLOWED,
        f"{problem}: send it with yubikey.adopt-secrets, or reset the device with yubikey.reset",
    )
