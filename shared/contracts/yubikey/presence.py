"""Where a device is plugged in: what the process with the readers reports to itself, and what is then told."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.base import Command, Event, Name, Text
from shared.contracts.yubikey.slots import YubiKeyMessage


class _OfAgent(YubiKeyMessage):
    agent: Name = Field(description="the machine with the reader, by the name that its process was given")
    simulated: bool = Field(description="true: the device is a virtual one")


class ReportPresence(_OfAgent, Command):
    """The world as an agent sees it; only the holder of the device's lease reports."""

    present: bool
    firmware: Text | None = None
    form_factor: Text | None = None


class YubiKeyInserted(_OfAgent, Event):
    """It is plugged in there now, and no longer where it was before."""

    firmware: Text | None
    form_factor: Text | None


class YubiKeyRemoved(_OfAgent, Event):
    pass


PresenceCommand = ReportPresence
PresenceEvent = YubiKeyInserted | YubiKeyRemoved
