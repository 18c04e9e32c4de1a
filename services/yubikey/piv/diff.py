"""Comparison of a slot with the effect that is to change it and with the intent of an earlier attempt."""

from __future__ import annotations

from yubikit.piv import PrivateKey

from services.yubikey.core.effects import EmptySlot, SlotFilled
from services.yubikey.errors import DeviceError
from services.yubikey.piv.attestation import spki
from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.operations import FillEffect, slot_filled
from services.yubikey.piv.session import KEY_TYPES, OpenDevice
from services.yubikey.piv.slots import SlotReading
from services.yubikey.state.intents import Intent
from shared.contracts.rejection import RejectionCode


def inspect_slot(
    device: OpenDevice, effect: FillEffect, private_key: PrivateKey | None, intent: Intent
) -> SlotFilled | SlotReading:
    """Reads the slot before it is filled; returns the result if the effect was performed already.

    Every rejection happens here, before an intent is written and before anything is deleted.
    """
    found = device.read(effect.slot)
    if _is_done(effect, private_key, intent, found):
        return slot_filled(device, effect, replaced=intent.occupied)
    if found.is_occupied(intent.discarded) and not effect.replace:
        problem = f"slot {effect.slot} of YubiKey {effect.serial} has a key or a certificate"
        remedy = 'clear it first, or set "replace": true to overwrite it irrecoverably'
        raise DeviceError(RejectionCode.CONFLICT, f"{problem}; {remedy}")
    device.check_support(effect.algorithm, effect.pin_policy, effect.touch_policy, generate=private_key is None)
    if not device.management_key_needs_touch:  # it would prompt twice; a wrong key then fails later, harmlessly
        authenticate(device)
    return found


def _is_done(effect: FillEffect, private_key: PrivateKey | None, intent: Intent, found: SlotReading) -> bool:
    """True if this effect, or an earlier one for the same key id, put the key into the slot."""
    if found.key is None or not intent.owns(effect.key_id, found.key.fingerprint):
        return False
    if private_key is not None:
        return spki(found.key.public_key) == spki(private_key.public_key())
    return found.key.metadata.generated and found.key.metadata.key_type == KEY_TYPES[effect.algorithm]


def should_clear(effect: EmptySlot, intent: Intent, found: SlotReading) -> bool:
    """True if the slot contains the key that the effect is to delete."""
    if not found.is_occupied(intent.discarded):
        return False
    if effect.key_id is None:
        return True
    if effect.public_key_pem is not None:  # any other key was put there by another program
        return effect.public_key_pem == found.public_key_pem
    return intent.owns(effect.key_id, found.fingerprint)
