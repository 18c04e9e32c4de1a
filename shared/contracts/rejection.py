"""Replies to commands that changed nothing: `command.rejected` and `command.repeated`."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field, JsonValue

from shared.contracts.base import Event, Id, Message


class RejectionCode(StrEnum):
    """The closed set of reasons for a rejection (docs/contract.md, section 3)."""

    MALFORMED = "malformed"
    UNKNOWN_COMMAND = "unknown-command"
    INVALID = "invalid"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    NOT_ALLOWED = "not-allowed"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class _CommandReply(Message):
    aggregate_type: ClassVar[str] = "command"
    identified_by: ClassVar[str] = "command_id"

    command_id: Id
    command_type: str
    aggregate_id: str | None = None


class CommandRejected(_CommandReply, Event):
    """The service rejected the command; *retryable* tells whether the same command may succeed later."""

    code: RejectionCode
    message: str
    details: dict[str, JsonValue] = Field(default_factory=dict)
    retryable: bool = False


class CommandRepeated(_CommandReply, Event):
    """An earlier command had the same result already: the service did nothing."""

    details: dict[str, JsonValue] = Field(default_factory=dict)


CommandOutcome = CommandRejected | CommandRepeated
