"""Changes of a device's PIN, PUK, retry counters and management key. Each can be repeated after a crash."""

from __future__ import annotations

from collections.abc import Callable

from ykman.piv import pivman_set_mgm_key
from yubikit.core import InvalidPinError
from yubikit.piv import MANAGEMENT_KEY_TYPE

from services.yubikey.piv.authentication import (
    authenticate,
    missing_secret,
    pin_is_default,
    puk_is_default,
    require_attempts,
    verify_pin,
    wrong_secret,
)
from services.yubikey.piv.secret_rules import DEFAULT_PIN, DEFAULT_PUK
from services.yubikey.piv.session import OpenDevice
from services.yubikey.state.credentials import DeviceSecrets
from shared.contracts.yubikey.devices import (
    KeyHolder,
    ManagementKeyAlgorithm,
    PukPolicy,
)

KEY_TYPES = {
    ManagementKeyAlgorithm.TDES: MANAGEMENT_KEY_TYPE.TDES,
    ManagementKeyAlgorithm.AES_128: MANAGEMENT_KEY_TYPE.AES128,
    ManagementKeyAlgorithm.AES_192: MANAGEMENT_KEY_TYPE.AES192,
    ManagementKeyAlgorithm.AES_256: MANAGEMENT_KEY_TYPE.AES256,
}
ALGORITHMS = {kind: algorithm for algorithm, kind in KEY_TYPES.items()}
_FIRMWARE_WITH_AES = (5, 4, 2)
_MAX_ATTEMPTS = 255


def set_pin(device: OpenDevice, pin: str) -> None:
    """Sets the PIN. If a crashed attempt set it already, no PIN attempt is lost: it is among the candidates."""
    before = verify_pin(device)
    if before != pin:
        device.session.change_pin(before, pin)


def set_puk(device: OpenDevice, secrets: DeviceSecrets, puk: str) -> None:
    """Sets the PUK."""
    _with_puk(device, secrets, lambda before: device.session.change_puk(before, puk))


def block_puk(device: OpenDevice) -> None:
    """Uses up the attempts of the PUK: a forgotten PIN then needs a reset."""
    for _ in range(_MAX_ATTEMPTS):
        try:
            device.session.change_puk("\0" * 8, DEFAULT_PUK)
        except InvalidPinError as error:
            if error.attempts_remaining == 0:
                return


def unblock_pin(device: OpenDevice, secrets: DeviceSecrets, pin: str) -> None:
    """Sets the PIN with the PUK, and resets its retry counter."""
    _with_puk(device, secrets, lambda puk: device.session.unblock_pin(puk, pin))


def _with_puk(device: OpenDevice, secrets: DeviceSecrets, work: Callable[[str], None]) -> None:
    """Runs *work* with the first PUK candidate that the device accepts. A wrong one costs an attempt."""
    for number, puk in enumerate(candidates := _puk_candidates(device, secrets), 1):
        require_attempts(_puk_attempts_left(device), device, "PUK")
        try:
            work(puk)
        except InvalidPinError as error:
            if number == len(candidates):
                raise wrong_secret(device, "PUK", error.attempts_remaining) from None
        else:
            return
    raise missing_secret(device, "PUK")


def set_retries(device: OpenDevice, pin_retries: int, puk_retries: int) -> None:
    """Sets the retry limits. The device resets PIN and PUK to factory values when it does this."""
    authenticate(device)
    verify_pin(device)
    device.session.set_pin_attempts(pin_retries, puk_retries)


def restore_pin_and_puk(device: OpenDevice, secrets: DeviceSecrets) -> None:
    """Sets the stored PIN and PUK again if the device has the factory values."""
    if secrets.pin is not None and pin_is_default(device) is not False:
        device.session.change_pin(DEFAULT_PIN, secrets.pin)
    if secrets.puk_policy is PukPolicy.BLOCK:
        block_puk(device)
    elif secrets.puk is not None and puk_is_default(device) is not False:
        device.session.change_puk(DEFAULT_PUK, secrets.puk)


def algorithm_for(device: OpenDevice, requested: ManagementKeyAlgorithm | None) -> ManagementKeyAlgorithm:
    """The requested algorithm, or the strongest that every firmware of this kind has by default."""
    if requested is not None:
        return requested
    aes = device.session.version >= _FIRMWARE_WITH_AES
    return ManagementKeyAlgorithm.AES_192 if aes else ManagementKeyAlgorithm.TDES


def set_management_key(device: OpenDevice, algorithm: ManagementKeyAlgorithm, key: bytes, held_by: KeyHolder) -> None:
    authenticate(device)
    stored = held_by is KeyHolder.DEVICE
    if stored:
        verify_pin(device)
    pivman_set_mgm_key(device.session, key, KEY_TYPES[algorithm], touch=False, store_on_device=stored)


def _puk_candidates(device: OpenDevice, secrets: DeviceSecrets) -> tuple[str, ...]:
    match puk_is_default(device):
        case True:
            return (DEFAULT_PUK,)
        case False:
            return secrets.puks
        case None:
            return secrets.puks or (DEFAULT_PUK,)


def _puk_attempts_left(device: OpenDevice) -> int:
    """Attempts left; firmware before 5.3 does not report them, so the factory default is assumed."""
    if puk_is_default(device) is None:
        return 3
    return device.session.get_puk_metadata().attempts_remaining
