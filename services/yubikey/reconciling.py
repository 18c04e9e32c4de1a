"""What is found when a device is taken over: whether it, its intents and the log agree.

Nothing is repaired here. Whatever was begun was begun by a command, which is not acknowledged and so delivered again:
carrying that out finishes it, by its intent (`services.yubikey.device`). This says in the service's log what to expect,
and what no command will put right: what other hands did to a slot.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.yubikey.attestation import fingerprint_of
from services.yubikey.domain import Device, SlotContent
from services.yubikey.effects import Outcome, ReadSlot, SlotContents
from services.yubikey.intents import Intent, Intents
from shared.contracts.yubikey import Slot

log = logging.getLogger(__name__)


class Finding(StrEnum):
    AGREES = "as the log says"
    NOT_DONE = "begun, and not done: its command comes again, and does it"
    NOT_TOLD = "done, and not told: its command comes again, and tells it"
    DIFFERS = "not as the log says: other hands changed it; verify the slot, then clear it or fill it anew"


def finding(intent: Intent, public_key_pem: str | None, content: SlotContent | None) -> Finding:
    """What *intent* came to, by the key that the device has in the slot and the *content* that the log knows."""
    if content is not None and (intent.key_id == content.key_id or not intent.key_id):
        return Finding.AGREES if content.public_key_pem == public_key_pem else Finding.DIFFERS
    found = None if public_key_pem is None else fingerprint_of(load_pem_public_key(public_key_pem.encode()))
    if intent.key_id is None or intent.key_id in intent.voided:
        return Finding.AGREES if found in (None, intent.discarded) else Finding.NOT_DONE
    return Finding.NOT_TOLD if intent.owns(intent.key_id, found) else Finding.NOT_DONE


async def reconcile(
    serial: str, intents: Intents, device: Device, perform: Callable[[ReadSlot], Awaitable[Outcome]]
) -> dict[Slot, Finding]:
    """What became of everything that was ever begun on the device; said where it is not as the log says."""
    findings: dict[Slot, Finding] = {}
    for slot, intent in (await intents.all(serial)).items():
        outcome = await perform(ReadSlot(serial, slot, None))
        if not isinstance(outcome, SlotContents):
            log.warning("YubiKey %s cannot be read after it was taken over: %s", serial, outcome)
            break
        findings[slot] = finding(intent, outcome.public_key_pem, device.slots.get(slot))
        if findings[slot] is not Finding.AGREES:
            log.warning("slot %s of YubiKey %s is %s", slot, serial, findings[slot])
    return findings
