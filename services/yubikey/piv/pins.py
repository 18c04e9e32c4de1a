"""Setting a device's PIN, PUK, tries and management key, so that doing it again after a crash comes to the same."""

from __future__ import annotations

from collections.abc import Callable

from ykman.piv import pivman_set_mgm_key
from yubikit.core import InvalidPinError
from yubikit.piv import MANAGEMENT_KEY_TYPE

from services.yubikey.piv.authentication import (
    authenticate,
    not_held,
    pin_is_default,
    prove_pin,
    puk_is_default,
    require_tries,
    wrong,
)
from services.yubikey.piv.secret_rules import DEFAULT_PIN, DEFAULT_PUK
from services.yubikey.piv.session import OpenDevice
from services.yubikey.state.credentials import Secrets
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
_AES_SINCE = (5, 4, 2)
_MOST_WRONG_TRIES = 255


def set_pin(device: OpenDevice, pin: str) -> None:
    """Where it is set already, that costs no try: it was pending."""
    before = prove_pin(device)
    if before != pin:
        device.session.change_pin(before, pin)


def set_puk(device: OpenDevice, secrets: Secrets, puk: str) -> None:
    _by_puk(device, secrets, lambda before: device.session.change_puk(before, puk))


def block_puk(device: OpenDevice) -> None:
    """Use up its tries: after that only a reset helps who forgot the PIN."""
    for _ in range(_MOST_WRONG_TRIES):
        try:
            device.session.change_puk("\0" * 8, DEFAULT_PUK)
        except InvalidPinError as error:
            if error.attempts_remaining == 0:
                return


def unblock_pin(device: OpenDevice, secrets: Secrets, pin: str) -> None:
    _by_puk(device, secrets, lambda puk: device.session.unblock_pin(puk, pin))


def _by_puk(device: OpenDevice, secrets: Secrets, work: Callable[[str], None]) -> None:
    """By whichever of the known ones holds; to prove one costs a try where it is wrong."""
    for number, puk in enumerate(known := _known_puks(device, secrets), 1):
        require_tries(_puk_tries(device), device, "PUK")
        try:
            work(puk)
        except InvalidPinError as error:
            if number == len(known):
                raise wrong(device, "PUK", error.attempts_remaining) from None
        else:
            return
    raise not_held(device, "PUK")


def set_tries(device: OpenDevice, pin_retries: int, puk_retries: int) -> None:
    """How often PIN and PUK may be got wrong. The device puts both back to factory values at that."""
    authenticate(device)
    prove_pin(device)
    device.session.set_pin_attempts(pin_retries, puk_retries)


def restore(device: OpenDevice, secrets: Secrets) -> None:
    """Set PIN and PUK again to what is held, where they are factory values."""
    if secrets.pin is not None and pin_is_default(device) is not False:
        device.session.change_pin(DEFAULT_PIN, secrets.pin)
    if secrets.puk_policy is PukPolicy.BLOCK:
        block_puk(device)
    elif secrets.puk is not None and puk_is_default(device) is not False:
        device.session.change_puk(DEFAULT_PUK, secrets.puk)


def algorithm_for(device: OpenDevice, wanted: ManagementKeyAlgorithm | None) -> ManagementKeyAlgorithm:
    if wanted is not None:
        return wanted
    aes = device.session.version >= _AES_SINCE
    return ManagementKeyAlgorithm.AES_192 if aes else ManagementKeyAlgorithm.TDES


def set_management_key(device: OpenDevice, algorithm: ManagementKeyAlgorithm, key: bytes, held_by: KeyHolder) -> None:
    authenticate(device)
    stored = held_by is KeyHolder.DEVICE
    if stored:
        prove_pin(device)
    pivman_set_mgm_key(device.session, key, KEY_TYPES[algorithm], touch=False, store_on_device=stored)


def _known_puks(device: OpenDevice, secrets: Secrets) -> tuple[str, ...]:
    match puk_is_default(device):
        case True:
            return (DEFAULT_PUK,)
        case False:
            return secrets.puks
        case None:
            return secrets.puks or (DEFAULT_PUK,)


def _puk_tries(device: OpenDevice) -> int:
    """Firmware before 5.3 does not tell: as many as a device is sold with."""
    if puk_is_default(device) is None:
        return 3
    return device.session.get_puk_metadata().attempts_remaining
