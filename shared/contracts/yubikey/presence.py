"""Command and events about the reader into which a device is plugged."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.base import Command, Event, Name, Text
from shared.contracts.yubikey.slots import YubiKeyMessage


class _AgentMessage(YubiKeyMessage):
    agent: Name = Field(description="configured name of the agent process that has the reader")
    simulated: bool = Field(description="true: the device is a virtual one")


class ReportPresence(_AgentMessage, Command):
    """Report the presence of a device; only the agent that holds its lease sends this."""

    present: bool
    firmware: Text | None = None
    form_factor: Text | None = None


class YubiKeyInserted(_AgentMessage, Event):
    """The device is plugged in at this agent, and no longer at the previous one."""

    firmware: Text | None
    form_factor: Text | None


class YubiKeyRemoved(_AgentMessage, Event):
    pass


PresenceCommand = ReportPresence
PresenceEvent = YubiKeyInserted | YubiKeyRemoved
