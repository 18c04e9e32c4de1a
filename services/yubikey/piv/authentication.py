"""Proving to a device who is there: the management key, and the PIN. The last tries are never used up here."""

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


FEWEST_TRIES = 2
"""A device with fewer left is not told a PIN or PUK that may be wrong."""


def authenticate(device: OpenDevice) -> None:
    """With the management key, of the algorithm that the device says it has (AES-192 by default since 5.7).

    Wrong ones cost no tries: those that are known are tried, the likeliest first, then the one that the device keeps.
    """
    kind = device.session.management_key_type
    fitting = [key for key in dict.fromkeys(device.candidates.management_keys) if len(key) == kind.key_len]
    for key in fitting:
        if _accepts(device, key):
            return
    if get_pivman_data(device.session).has_protected_key and device.candidates.pins:
        prove_pin(device)
        protected = get_pivman_protected_data(device.session).key
        if protected is not None and _accepts(device, protected):
            return
    given = f"knows {len(fitting)} for it, and it accepts none" if fitting else "knows none of that length"
    problem = f"the management key of YubiKey {device.serial} is {kind.name}, of {kind.key_len} bytes; this service"
    remedy = "yubikey.adopt-secrets tells it one"
    raise DeviceError(
        RejectionCode.NOT_ALLOWED, f"{problem} {given}, or was not touched where it asks for that; {remedy}"
    )


def _accepts(device: OpenDevice, key: bytes) -> bool:
    try:
        if device.asks_for_touch:
            device.with_touch(None, lambda: device.session.authenticate(key))
        else:
            device.session.authenticate(key)
    except (ApduError, BadResponseError):
        return False
    return True


def with_pin(device: OpenDevice, slot: Slot | None, operation: Callable[[], T]) -> T:
    """Do *operation* once the PIN is proved: the one that is held, or that every device is sold with, or a person's."""
    if device.candidates.pins or pin_is_default(device):
        prove_pin(device)
        return operation()

    def proved(pin: str) -> T:
        _verify(device, pin)
        return operation()

    return device.with_pin(slot, proved)


def prove_pin(device: OpenDevice) -> str:
    """The PIN that holds, of those that are known. Raises DeviceError when it is another."""
    if pin_is_default(device):
        _verify(device, DEFAULT_PIN)
        return DEFAULT_PIN
    known = device.candidates.pins or ((DEFAULT_PIN,) if pin_is_default(device) is None else ())
    for pin in known[:-1]:
        try:
            _verify(device, pin)
        except DeviceError:
            continue
        return pin
    if not known:
        raise not_held(device, "PIN")
    _verify(device, known[-1])
    return known[-1]


def _verify(device: OpenDevice, pin: str) -> None:
    require_tries(device.session.get_pin_attempts(), device, "PIN")
    try:
        device.session.verify_pin(pin)
    except InvalidPinError as error:
        raise wrong(device, "PIN", error.attempts_remaining) from None


def pin_is_default(device: OpenDevice) -> bool | None:
    """None: firmware before 5.3 does not tell."""
    try:
        return device.session.get_pin_metadata().default_value
    except NotSupportedError:
        return None


def puk_is_default(device: OpenDevice) -> bool | None:
    try:
        return device.session.get_puk_metadata().default_value
    except NotSupportedError:
        return None


def require_tries(left: int, device: OpenDevice, what: str) -> None:
    if left == 0:
        remedy = "yubikey.unblock-pin sets another one" if what == "PIN" else "only yubikey.reset helps"
        raise DeviceError(RejectionCode.CONFLICT, f"the {what} of YubiKey {device.serial} is blocked: {remedy}")
    if left < FEWEST_TRIES:
        problem = f"the {what} of YubiKey {device.serial} has {left} try left, which is not risked here"
        remedy = "whoever knows it proves it once, or yubikey.unblock-pin" if what == "PIN" else "whoever knows it does"
        raise DeviceError(RejectionCode.CONFLICT, f"{problem}: {remedy}")


def wrong(device: OpenDevice, what: str, left: int) -> DeviceError:
    problem = f"the {what} that is held of YubiKey {device.serial} is not the device's; {left} tries left"
    return DeviceError(RejectionCode.NOT_ALLOWED, f"{problem}: yubikey.adopt-secrets tells the right one")


def not_held(device: OpenDevice, what: str) -> DeviceError:
    problem = f"the {what} of YubiKey {device.serial} is not held here"
    return DeviceError(
        RejectionCode.NOT_ALLOWED, f"{problem}: yubikey.adopt-secrets tells it, yubikey.reset does without"
    )
