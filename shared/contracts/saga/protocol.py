"""What can be asked of any saga, and what any saga announces of itself."""

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
    """Begin a saga; with a `saga_id` of the client's choice, beginning twice is one saga."""

    saga_id: Id = DERIVED

    @classmethod
    def saga_type(cls) -> str:
        """`StartKeyRotation` begins a `key-rotation`."""
        return _BEFORE_A_WORD.sub("-", cls.__name__.removeprefix("Start")).lower()


class CancelSaga(SagaMessage, Command):
    """Stop going forward and undo what was done."""

    saga_id: Id
    reason: Text = "cancelled by an operator"


class WithdrawSaga(SagaMessage, Command):
    """Undo what a saga did, be it under way, complete or not begun yet: one that was withdrawn does not begin."""

    saga_id: Id
    reason: Text = "withdrawn by an operator"


class PauseSaga(SagaMessage, Command):
    """Ask nothing more till it is resumed; deadlines stand still meanwhile. What was asked is still heard."""

    saga_id: Id
    reason: Text = "paused by an operator"


class ResumeSaga(SagaMessage, Command):
    saga_id: Id


class RetrySaga(SagaMessage, Command):
    """Ask again, now: a step that waits for a person or for its next attempt, or what could not be undone."""

    saga_id: Id
    reason: Text = "asked again by an operator"


class ResolveSaga(SagaMessage, Command):
    """A person states what became of a step that nobody else can tell about."""

    saga_id: Id
    step: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    outcome: Literal["done", "undone"] = Field(
        description="done: of a stuck step, with its answer; undone: of one that could not be undone"
    )
    reason: Text
    answer: dict[str, JsonValue] | None = Field(
        default=None, description="the body of the event that would have answered the step"
    )


SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]


class SignalSaga(SagaMessage, Command):
    """Tell a saga what it waits to be told by a person: that something is approved, say."""

    saga_id: Id
    signal: SignalName
    message_sha256: Fingerprint | None = Field(
        default=None, description="what is approved, as `waiting` named it: the approval is for this and nothing else"
    )
    comment: Text | None = None


class Announcement(SagaMessage, Event):
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
    request: dict[str, JsonValue] | None = Field(default=None, description="the body of what began it")
    began_at: datetime | None = None
    triggered: bool = Field(default=False, description="whether an event began it, and no command")
    parent: SagaParent | None = None


class SagaStepFinished(Announcement):
    step: str
    attempts: int

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, self.saga_id)


class SagaWaiting(Announcement):
    """It goes on when people have said so: *needed* of them, each one once, by `keys.commands.saga.signal`."""

    step: str
    signal: str
    needed: int
    message_sha256: Fingerprint | None = None
    about: str = Field(description="what a person is asked to judge, in words")

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, self.saga_id)


class SagaSignalled(Announcement):
    step: str
    signal: str
    actor: str
    heard: int = Field(description="how many have said so by now")
    needed: int
    comment: Text | None = None

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, str(self.heard), self.saga_id)


class SagaCompensating(Announcement):
    step: str | None = Field(description="the step that did not succeed; none when an operator cancelled")
    code: str
    reason: str
    steps_to_undo: tuple[str, ...]


class SagaCompensated(Announcement):
    """All that was done is undone."""

    reason: str
    undone: tuple[str, ...]


class LeftOver(Value):
    step: str
    reason: str


class SagaFailed(Announcement):
    """Something could not be undone: a person is needed."""

    reason: str
    undone: tuple[str, ...]
    left_over: tuple[LeftOver, ...]


class NumberedAnnouncement(Announcement):
    """May be said more than once of a saga: its subject tells which one it is."""

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, str(self.sequence), self.saga_id)


class SagaPaused(NumberedAnnouncement):
    reason: str


class SagaResumed(NumberedAnnouncement):
    paused_seconds: float = Field(description="by how much its deadlines were moved")


class SagaStuck(NumberedAnnouncement):
    """There is no way back and a step cannot be done: a person is needed. `retry` or `resolve` goes on."""

    step: str
    reason: str


class SagaRetried(NumberedAnnouncement):
    steps: tuple[str, ...]
    reason: str


class SagaResolved(NumberedAnnouncement):
    step: str
    outcome: str
    reason: str
    answer: dict[str, JsonValue] | None = Field(default=None, description="what the person gave for the step's answer")


class SagaWithdrawing(NumberedAnnouncement):
    """It was complete, and is undone all the same."""

    reason: str
    steps_to_undo: tuple[str, ...]


class SagaUndone(NumberedAnnouncement):
    """After its end: all that was done is undone now."""

    reason: str
    undone: tuple[str, ...]


class SagaNotUndone(NumberedAnnouncement):
    """After its end: something still could not be undone."""

    reason: str
    undone: tuple[str, ...]
    left_over: tuple[LeftOver, ...]


class CompletionAnnouncement(Announcement):
    """It is complete. A saga that has more to say says it by a kind of its own."""

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_id,)
