"""Comparison of a newly leased device with its intents and the log.

Nothing is repaired here. A command that began a change is not acknowledged, and its redelivery finishes the change by
its intent (`services.yubikey.performer.devices`). This module logs what differs, and changes by other programs, which
no command will repair.
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


class SlotComparison(StrEnum):
    """Result of a comparison, worded for the service's log."""

    MATCHES = "consistent with the log"
    NOT_PERFORMED = "consistent with the log; a begun change was not performed: its command was rejected, or is retried"
    NOT_REPORTED = "changed by a command that has no event yet: the command is retried, and reports the change"
    DIFFERS = "inconsistent with the log: another program changed it; verify the slot, then clear it or fill it again"


def compare(intent: Intent, public_key_pem: str | None, content: SlotContent | None, *, begun: bool) -> SlotComparison:
    """Compares the key in the slot with the *content* in the log. *begun*: the intent's command has no outcome yet."""
    if content is not None:
        matches = content.public_key_pem == public_key_pem
    else:
        matches = public_key_pem is None or (
            fingerprint_of(load_pem_public_key(public_key_pem.encode())) == intent.discarded
        )
    match begun, matches:
        case False, True:
            return SlotComparison.MATCHES
        case False, _:
            return SlotComparison.DIFFERS
        case _, True:
            return SlotComparison.NOT_PERFORMED
        case _:
            return SlotComparison.NOT_REPORTED


async def reconcile(
    serial: str,
    intents: Intents,
    load: Callable[[], Awaitable[Versioned[Device]]],
    perform: Callable[[ReadSlot], Awaitable[Outcome]],
) -> dict[Slot, SlotComparison]:
    """Compares every slot that has an intent, and logs differences. Skips a slot that changes during the comparison."""
    comparisons: dict[Slot, SlotComparison] = {}
    for slot, intent in (await intents.all(serial)).items():
        outcome = await perform(ReadSlot(serial, slot, None))
        current = await load()
        if not isinstance(outcome, SlotContents):
            log.warning("YubiKey %s cannot be read after its lease was acquired: %s", serial, outcome)
            break
        begun = bool(intent.operation_id) and not current.has_handled(UUID(intent.operation_id))
        if (await intents.read(serial, slot))[0] != intent:
            continue
        comparison = compare(intent, outcome.public_key_pem, current.state.slots.get(slot), begun=begun)
        comparisons[slot] = comparison
        if comparison in (SlotComparison.NOT_REPORTED, SlotComparison.DIFFERS):
            log.warning("slot %s of YubiKey %s is %s", slot, serial, comparison)
    return comparisons
