"""Operator commands to any saga, and the events that any saga publishes about itself."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, StringConstraints

from shared.contracts.base import DERIVED, Command, Event, Fingerprint, Id, Message, Text
from shared.contracts.key.value_types import Value

_BEFORE_A_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class SagaMessage(Message):
    aggregate_type: ClassVar[str] = "saga"
    identified_by: ClassVar[str] = "saga_id"


class StartSaga(SagaMessage, Command):
    """Start a saga. With a `saga_id` of the client's choice the command is idempotent."""

    saga_id: Id = DERIVED

    @classmethod
    def saga_type(cls) -> str:
        """Derives the saga type from the class name: `StartKeyRotation` starts a `key-rotation`."""
        return _BEFORE_A_WORD.sub("-", cls.__name__.removeprefix("Start")).lower()


class CancelSaga(SagaMessage, Command):
    """Stop the saga and compensate its completed steps."""

    saga_id: Id
    reason: Text = "cancelled by an operator"


class WithdrawSaga(SagaMessage, Command):
    """Roll back a running or completed saga; one that has not started yet never runs."""

    saga_id: Id
    reason: Text = "withdrawn by an operator"


class PauseSaga(SagaMessage, Command):
    """Send no further commands until `saga.resume`; deadlines are suspended. Outcomes are still processed."""

    saga_id: Id
    reason: Text = "paused by an operator"


class ResumeSaga(SagaMessage, Command):
    """Continue a paused saga."""

    saga_id: Id


class RetrySaga(SagaMessage, Command):
    """Retry now: a stuck step, a step in backoff, or a failed compensation."""

    saga_id: Id
    reason: Text = "asked again by an operator"


class ResolveSaga(SagaMessage, Command):
    """State the outcome of a step that a person has checked by hand."""

    saga_id: Id
    step: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    outcome: Literal["done", "undone"] = Field(
        description="done: for a stuck step, with its answer; undone: for a failed compensation"
    )
    reason: Text
    answer: dict[str, JsonValue] | None = Field(
        default=None, description="the body of the event that would have answered the step"
    )


SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]


class SignalSaga(SagaMessage, Command):
    """Send a signal, such as an approval, to a waiting saga."""

    saga_id: Id
    signal: SignalName
    message_sha256: Fingerprint | None = Field(
        default=None,
        description="hash of the approved bytes, as in `waiting`; the approval is valid for these bytes only",
    )
    comment: Text | None = None


class Announcement(SagaMessage, Event):
    """An event that a saga publishes about itself."""

    saga_id: Id
    saga_type: str
    sequence: int = Field(ge=0, description="counts this saga's announcements without gaps")

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.saga_id)


class SagaParent(Value):
    """The saga of which this one is a step."""

    saga_type: str
    saga_id: Id
    step: str


class SagaStarted(Announcement):
    definition_version: int
    steps: tuple[str, ...]
    request: dict[str, JsonValue] | None = Field(default=None, description="the body of the start command")
    began_at: datetime | None = None
    triggered: bool = Field(default=False, description="true: an event triggered it, not a command")
    parent: SagaParent | None = None


class SagaStepFinished(Announcement):
    step: str
    attempts: int

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, self.saga_id)


class SagaWaiting(Announcement):
    """The saga waits for *needed* signals of different people, sent as `keys.commands.saga.signal`."""

    step: str
    signal: str
    needed: int
    message_sha256: Fingerprint | None = None
    about: str = Field(description="description of what the person is to approve")

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, self.saga_id)


class SagaSignalled(Announcement):
    step: str
    signal: str
    actor: str
    heard: int = Field(description="number of signals so far")
    needed: int
    comment: Text | None = None

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, str(self.heard), self.saga_id)


class SagaCompensating(Announcement):
    step: str | None = Field(description="the failed step; none if an operator cancelled")
    code: str
    reason: str
    steps_to_undo: tuple[str, ...]


class SagaCompensated(Announcement):
    """All completed steps are compensated."""

    reason: str
    undone: tuple[str, ...]


class LeftOver(Value):
    step: str
    reason: str


class SagaFailed(Announcement):
    """A compensation failed: an operator must intervene."""

    reason: str
    undone: tuple[str, ...]
    left_over: tuple[LeftOver, ...]


class NumberedAnnouncement(Announcement):
    """An announcement that a saga may publish several times; its sequence is part of the subject."""

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, str(self.sequence), self.saga_id)


class SagaPaused(NumberedAnnouncement):
    reason: str


class SagaResumed(NumberedAnnouncement):
    paused_seconds: float = Field(description="shift of its deadlines")


class SagaStuck(NumberedAnnouncement):
    """A step after the pivot failed: an operator must send `retry` or `resolve`."""

    step: str
    reason: str


class SagaRetried(NumberedAnnouncement):
    steps: tuple[str, ...]
    reason: str


class SagaResolved(NumberedAnnouncement):
    step: str
    outcome: str
    reason: str
    answer: dict[str, JsonValue] | None = Field(
        default=None, description="the step's answer, as the operator stated it"
    )


class SagaWithdrawing(NumberedAnnouncement):
    """The rollback of a completed saga has started."""

    reason: str
    steps_to_undo: tuple[str, ...]


class SagaUndone(NumberedAnnouncement):
    """A rollback or a retried compensation has succeeded."""

    reason: str
    undone: tuple[str, ...]


class SagaNotUndone(NumberedAnnouncement):
    """A rollback or a retried compensation has failed."""

    reason: str
    undone: tuple[str, ...]
    left_over: tuple[LeftOver, ...]


class Completed(Announcement):
    """The saga is complete. A saga with results has a subclass of its own. Class names are event types on the wire."""

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_id,)
