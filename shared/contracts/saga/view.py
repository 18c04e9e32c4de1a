"""The published part of an entry of KEYS_SAGAS (docs/contract.md, section 4): its stable fields.

An entry has more fields. They are private to the coordinator, and may change in any version.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

SCHEMAS = (1, 2)
"""Schemas of entries that `SagaView` reads. The coordinator writes the last one."""
TERMINAL_PHASES = frozenset({"completed", "compensated", "failed"})


def stored_questions(entry: dict[str, Any]) -> list[Any]:
    """The pending steps of an entry as they are stored, of any schema."""
    if entry["schema"] == SCHEMAS[0]:
        return [entry["question"]] if entry.get("question") else []
    return list(entry["questions"])


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class OriginView(_Part):
    """The command that began the saga; *at* is set when the time of a timer began it."""

    command_id: UUID
    correlation_id: str
    actor: str
    at: datetime | None = None


class PeopleView(_Part):
    """A wait for people: *needed* distinct signals, about the content with this SHA-256 if there is one."""

    signal: str
    needed: int
    message_sha256: str | None = None


class PendingStepView(_Part):
    """A step, or part *part* of its undo, that has no outcome yet.

    *send_at*: the time of the next attempt. *stuck*: why it waits for an operator. *asleep*: it waits for its deadline.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    step: str
    part: int | None
    attempt: int
    deadline: datetime
    send_at: datetime | None = None
    people: PeopleView | None = None
    asleep: bool = False
    stuck: str | None = None

    @property
    def label(self) -> str:
        """The name of the step in messages (`CIM-Saga-Step`)."""
        return self.step if self.part is None else f"undo.{self.step}"


class LeftOverView(_Part):
    """A step that could not be undone."""

    step: str
    reason: str


class SignalView(_Part):
    """A signal that a person gave."""

    step: str


class SagaView(_Part):
    """One saga: its phase, its pending steps, and what is left to undo."""

    schema_: int = Field(alias="schema")
    saga_type: str
    saga_id: str
    version: int
    phase: str
    request: dict[str, JsonValue]
    origin: OriginView
    deadline: datetime
    pending: tuple[PendingStepView, ...] = Field(alias="questions")
    undone: tuple[str, ...]
    to_undo: tuple[tuple[str, int], ...]
    left_over: tuple[LeftOverView, ...]
    reason: str | None
    cancelled_by: str | None
    signals: tuple[SignalView, ...] = ()
    changed_at: datetime | None
    paused_at: datetime | None = None
    past_pivot: bool = False

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, entry: Any) -> Any:
        """Upgrades an entry of schema 1, which has one pending step, or none, under `question`."""
        if isinstance(entry, dict) and entry.get("schema") == SCHEMAS[0]:
            return {**entry, "questions": stored_questions(entry)}
        return entry

    @property
    def is_finished(self) -> bool:
        return self.phase in TERMINAL_PHASES

    @property
    def remaining_undo(self) -> list[str]:
        """The steps that are still to be undone, the one in progress first."""
        in_progress = [pending.step for pending in self.pending if pending.part is not None]
        return list(dict.fromkeys(in_progress + [step for step, _ in self.to_undo]))
