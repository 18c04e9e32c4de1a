"""What can be asked of any saga, and what any saga announces of itself."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from shared.contracts.base import DERIVED, Command, Event, Fingerprint, Id, Message, Text
from shared.contracts.keying import Value


class OfSaga(Message):
    aggregate_type: ClassVar[str] = "saga"
    identified_by: ClassVar[str] = "saga_id"


class StartSaga(OfSaga, Command):
    """Begin a saga; with a `saga_id` of the client's choice, beginning twice is one saga."""

    saga_id: Id = DERIVED


class CancelSaga(OfSaga, Command):
    """Stop going forward and undo what was done."""

    saga_id: Id
    reason: Text = "cancelled by an operator"


SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]


class SignalSaga(OfSaga, Command):
    """Tell a saga what it waits to be told by a person: that something is approved, say."""

    saga_id: Id
    signal: SignalName
    message_sha256: Fingerprint | None = Field(
        default=None, description="what is approved, as `waiting` named it: the approval is for this and nothing else"
    )
    comment: Text | None = None


class Announcement(OfSaga, Event):
    saga_id: Id
    saga_type: str
    sequence: int = Field(ge=0, description="counts this saga's announcements without gaps")

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.saga_id)


class SagaStarted(Announcement):
    definition_version: int
    steps: tuple[str, ...]


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


class Completed(Announcement):
    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_id,)
