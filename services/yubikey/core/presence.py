"""Presence of a device: decided so that repeated and reordered reports give one event each. Pure."""

from __future__ import annotations

from typing import assert_never

from services.yubikey.core.states import Presence
from shared.contracts.yubikey.presence import PresenceEvent, ReportPresence, YubiKeyInserted, YubiKeyRemoved
from shared.decider import AlreadyDone


def decide(state: Presence | None, report: ReportPresence) -> PresenceEvent | AlreadyDone:
    """Decides on a report by one agent.

    An agent that reports the device gone changes nothing if another agent has it by now: the device moved.
    """
    is_there = state is not None and state.agent == report.agent
    if report.present == is_there:
        return AlreadyDone()
    if not report.present:
        return YubiKeyRemoved(serial=report.serial, agent=report.agent, simulated=report.simulated)
    return YubiKeyInserted(
        serial=report.serial,
        agent=report.agent,
        simulated=report.simulated,
        firmware=report.firmware,
        form_factor=report.form_factor,
    )


def evolve(event: PresenceEvent) -> Presence | None:
    match event:
        case YubiKeyInserted():
            return Presence(event.agent, event.simulated)
        case YubiKeyRemoved():
            return None
        case _:
            assert_never(event)
