"""Where a device is: plugging and unplugging, told once each, whoever repeats it and in whatever order. Pure."""

from __future__ import annotations

from typing import assert_never

from services.yubikey.core.states import Presence
from shared.contracts.yubikey.presence import PresenceEvent, ReportPresence, YubiKeyInserted, YubiKeyRemoved
from shared.decider import AlreadyDone


def reported(known: Presence | None, report: ReportPresence) -> PresenceEvent | AlreadyDone:
    """What *report* makes of a device that is where it is *known* to be. To be gone from where it was not is no news:
    it was plugged in elsewhere before its unplugging was told.
    """
    is_there = known is not None and known.agent == report.agent
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


def after(event: PresenceEvent) -> Presence | None:
    match event:
        case YubiKeyInserted():
            return Presence(event.agent, event.simulated)
        case YubiKeyRemoved():
            return None
        case _:
            assert_never(event)
