"""Where a saga stands: all that its next move depends on, and all that a crash must not lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from services.saga.core.pending_command import Question
from shared.contracts.base import Command, Event
from shared.contracts.key.value_types import Approval
from shared.contracts.saga.protocol import LeftOver, StartSaga
from shared.messages.headers import SagaContext
from shared.messages.ids import derive_id

R = TypeVar("R", bound=StartSaga)
E = TypeVar("E", bound=Event)


class Phase(StrEnum):
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Origin:
    """What began the saga, and what it leads to inherits from: a command; or the event that *triggered* it.

    *parent*: the saga of which this one is a step; it is told of the end.
    """

    command_id: UUID
    correlation_id: UUID
    actor: str
    trace: tuple[tuple[str, str], ...] = ()
    triggered: bool = False
    at: datetime | None = None
    parent: SagaContext | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """What one person said while *step* waited for it."""

    step: str
    signal: str
    actor: str
    message_sha256: str | None
    command_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Answered:
    step: str
    event: Event


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement that is saved and may not be published yet."""

    cause: UUID
    event: Event

    @property
    def event_id(self) -> UUID:
        sequence = getattr(self.event, "sequence", 0)
        return derive_id(self.cause, f"{type(self.event).__name__}/{self.event.identity}/{sequence}")


@dataclass(frozen=True, slots=True)
class Undoing:
    """One undo that is still to be asked: a step, and which of its parts."""

    step: str
    part: int


class Turn(StrEnum):
    """Why a saga undoes: it did not succeed; it was complete and is withdrawn; an operator has what was left over
    tried again."""

    COMPENSATION = "compensation"
    WITHDRAWAL = "withdrawal"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Saga(Generic[R]):
    """One saga's state; to the functions of its definition, all they can know.

    *finished*: the steps that are done, or were passed over. *still_since*: since when its deadline stands still.
    *paused_at*: since when nothing is asked. *past_pivot*: there is no way back any more. *orders*: the last commands
    of operators that it obeyed. *resolved*: of which steps a person said that nothing is left over.
    """

    saga_type: str
    saga_id: str
    version: int
    request: R
    origin: Origin
    deadline: datetime
    phase: Phase = Phase.RUNNING
    questions: tuple[Question, ...] = ()
    answers: tuple[Answered, ...] = ()
    finished: tuple[str, ...] = ()
    to_undo: tuple[Undoing, ...] = ()
    undone: tuple[str, ...] = ()
    left_over: tuple[LeftOver, ...] = ()
    reason: str = ""
    cancelled_by: UUID | None = None
    signals: tuple[Signal, ...] = ()
    sequence: int = 0
    announcements: tuple[Announced, ...] = ()
    armed: datetime | None = None
    changed_at: datetime | None = None
    still_since: datetime | None = None
    paused_at: datetime | None = None
    past_pivot: bool = False
    turn: Turn = Turn.COMPENSATION
    orders: tuple[UUID, ...] = ()
    resolved: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        return self.phase not in (Phase.RUNNING, Phase.COMPENSATING)

    @property
    def question(self) -> Question | None:
        """The first of what is pending."""
        return self.questions[0] if self.questions else None

    @property
    def due(self) -> datetime | None:
        """When it must be looked at, whatever is heard till then; None: it is over, paused, or a person is waited for.

        Undoing has no end of its own, and what has no way back has none either.
        """
        if self.paused_at is not None:
            return None
        dues = [question.due for question in self.questions]
        return min((due for due in (*dues, self.ends_at) if due is not None), default=None)

    @property
    def ends_at(self) -> datetime | None:
        """When it is given up as a whole; None: it has no end of its own now."""
        counts = self.phase is Phase.RUNNING and self.questions and not self.past_pivot and self.still_since is None
        return self.deadline if counts else None

    def with_question(self, old: Question, new: Question | None) -> Saga[R]:
        """With *new* in the place of *old*, or without it."""
        kept = tuple(new if each is old else each for each in self.questions)
        return replace(self, questions=tuple(each for each in kept if each is not None))

    def now(self, at: datetime) -> Saga[R]:
        """Changed at *at*; the deadline stands still while it is paused or something patient is pending."""
        still = self.paused_at is not None or any(question.patient for question in self.questions)
        match still, self.still_since:
            case True, None:
                return replace(self, changed_at=at, still_since=at)
            case False, datetime() as since:
                moved = self.deadline + max(at - since, timedelta())
                return replace(self, changed_at=at, still_since=None, deadline=moved)
            case _:
                return replace(self, changed_at=at)

    @property
    def heading(self) -> dict[str, Any]:
        """What every announcement of this saga begins with."""
        return {"saga_id": self.saga_id, "saga_type": self.saga_type, "sequence": self.sequence}

    def announcing(self, event: Event, cause: UUID) -> Saga[R]:
        """This saga with one more announcement to be published, caused by the message *cause*."""
        return replace(self, announcements=(*self.announcements, Announced(cause, event)), sequence=self.sequence + 1)

    def id_of(self, what: str) -> str:
        """The id of something that this saga makes: known before it is made, so that it can be undone unseen."""
        return str(derive_id(UUID(self.saga_id), what))

    def find(self, kind: type[E], to: Callable[[Saga[R]], Command] | None = None) -> E | None:
        """The event of that kind which answered a step (the step that asks *to*); None if there was none yet."""
        step = to.__name__.replace("_", "-") if to else None
        for answered in reversed(self.answers):
            if isinstance(answered.event, kind) and step in (None, answered.step):
                return answered.event
        return None

    def answer(self, kind: type[E], to: Callable[[Saga[R]], Command] | None = None) -> E:
        """As `find`, for steps that must have been answered before this is asked. Raises LookupError."""
        event = self.find(kind, to)
        if event is None:
            raise LookupError(f"no step of {self.saga_type} {self.saga_id} was answered by a {kind.__name__}")
        return event

    def approvals_for(self, message_sha256: str) -> tuple[Approval, ...]:
        """Who approved of those bytes, as their signer wants to be told of it."""
        return tuple(
            Approval(actor=said.actor, message_sha256=message_sha256, command_id=str(said.command_id), at=said.at)
            for said in self.signals
            if said.message_sha256 == message_sha256
        )
