"""What is found when a device is taken over: whether it, its intents and the log agree.

Nothing is repaired here. Whatever was begun was begun by a command, which is not acknowledged and so delivered again:
carrying that out finishes it, by its intent (`services.yubikey.performer.devices`). This says in the service's log
what to expect, and what no command will put right: what other hands did to a slot.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from uuid import UUID

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.yubikey.core.effects import Outcome, ReadSlot, SlotContents
from services.yubikey.core.states import Device, SlotContent
from services.yubikey.piv.attestation import fingerprint_of
from services.yubikey.state.intents import Intent, Intents
from shared.contracts.yubikey.slots import Slot
from shared.store.event_store import Versioned

log = logging.getLogger(__name__)


class Finding(StrEnum):
    AGREES = "as the log says"
    NOT_DONE = "as the log says; what was begun is not done: its command was refused, or comes again and does it"
    NOT_TOLD = "changed by what was begun, and that is not told: its command comes again, and finishes and tells it"
    DIFFERS = "not as the log says: other hands changed it; verify the slot, then clear it or fill it anew"


def finding(intent: Intent, public_key_pem: str | None, content: SlotContent | None, *, begun: bool) -> Finding:
    """What became of *intent*, by the key that the device has in the slot and the *content* that the log knows.
    *begun*: its command has no answer yet.
    """
    if content is not None:
        agrees = content.public_key_pem == public_key_pem
    else:
        agrees = public_key_pem is None or (
            fingerprint_of(load_pem_public_key(public_key_pem.encode())) == intent.discarded
        )
    match begun, agrees:
        case False, True:
            return Finding.AGREES
        case False, _:
            return Finding.DIFFERS
        case _, True:
            return Finding.NOT_DONE
        case _:
            return Finding.NOT_TOLD


async def reconcile(
    serial: str,
    intents: Intents,
    stands: Callable[[], Awaitable[Versioned[Device]]],
    perform: Callable[[ReadSlot], Awaitable[Outcome]],
) -> dict[Slot, Finding]:
    """What became of everything that was ever begun on the device; said where it is not as the log says. What is begun
    meanwhile is left alone.
    """
    findings: dict[Slot, Finding] = {}
    for slot, intent in (await intents.all(serial)).items():
        outcome = await perform(ReadSlot(serial, slot, None))
        standing = await stands()
        if not isinstance(outcome, SlotContents):
            log.warning("YubiKey %s cannot be read after it was taken over: %s", serial, outcome)
            break
        begun = bool(intent.operation_id) and not standing.has_handled(UUID(intent.operation_id))
        if (await intents.read(serial, slot))[0] != intent:
            continue
        found = finding(intent, outcome.public_key_pem, standing.state.slots.get(slot), begun=begun)
        findings[slot] = found
        if found in (Finding.NOT_TOLD, Finding.DIFFERS):
            log.warning("slot %s of YubiKey %s is %s", slot, serial, found)
    return findings
