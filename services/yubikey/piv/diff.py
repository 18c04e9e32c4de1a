"""What is found in a slot, compared with what is to be done to it and with what was begun there before."""

from __future__ import annotations

from yubikit.piv import PrivateKey

from services.yubikey.core.effects import EmptySlot, SlotFilled
from services.yubikey.errors import DeviceError
from services.yubikey.piv.attestation import spki
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.operations import Filling, filled
from services.yubikey.piv.session import KEY_TYPES, OpenDevice
from services.yubikey.piv.slots import SlotReading
from services.yubikey.state.intents import Intent
from shared.contracts.rejection import RejectionCode


def look(
    device: OpenDevice, effect: Filling, private_key: PrivateKey | None, intent: Intent
) -> SlotFilled | SlotReading:
    """What is in the slot before it is filled; what came of it, if it is. All that can be refused is refused here,
    before an intent is written and before anything is deleted.
    """
    found = device.read(effect.slot)
    if _is_done(effect, private_key, intent, found):
        return filled(device, effect, intent.occupied)
    if found.is_occupied(intent.discarded) and not effect.replace:
        problem = f"slot {effect.slot} of YubiKey {effect.serial} has a key or a certificate"
        remedy = 'clear it first, or say "replace": true to overwrite it for good'
        raise DeviceError(RejectionCode.CONFLICT, f"{problem}; {remedy}")
    device.check_support(effect.algorithm, effect.pin_policy, effect.touch_policy, generate=private_key is None)
    if not device.asks_for_touch:  # it would be asked for twice; a wrong key is found out later, in vain but safely
        authenticate(device)
    return found


def _is_done(effect: Filling, private_key: PrivateKey | None, intent: Intent, found: SlotReading) -> bool:
    """Whether the key in the slot is what this effect, or an earlier one for the same key id, put there."""
    if found.key is None or not intent.owns(effect.key_id, found.key.fingerprint):
        return False
    if private_key is not None:
        return spki(found.key.public_key) == spki(private_key.public_key())
    return found.key.metadata.generated and found.key.metadata.key_type == KEY_TYPES[effect.algorithm]


def is_to_go(effect: EmptySlot, intent: Intent, found: SlotReading) -> bool:
    if not found.is_occupied(intent.discarded):
        return False
    if effect.key_id is None:
        return True
    if effect.public_key_pem is not None:  # the log knows the key: what is there instead of it is somebody else's
        return effect.public_key_pem == found.public_key_pem
    return intent.owns(effect.key_id, found.fingerprint)
