"""State of one saga: everything that its next transition depends on, and that must survive a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from services.saga.core.retry import Retry
from shared.contracts.base import Command, Event
from shared.contracts.key.value_types import Approval
from shared.contracts.saga.protocol import LeftOver, StartSaga
from shared.messages.headers import SagaContext
from shared.messages.ids import derive_id

R = TypeVar("R", bound=StartSaga)
E = TypeVar("E", bound=Event)


class Phase(StrEnum):
    """Phase of a saga; the last three are terminal."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"


class UndoMode(StrEnum):
    """Reason why a saga undoes its steps; the values are stored."""

    COMPENSATION = "compensation"
    """A step failed, or an operator cancelled the saga."""
    ROLLBACK = "withdrawal"
    """The saga had completed, and an operator or its parent withdraws it."""
    REPAIR = "repair"
    """An operator retries what could not be undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The message that began the saga, and the lineage that everything it sends inherits.

    *command_id*: the start command, or the event if *triggered*. *parent*: the saga of which this one is a step; the
    parent receives the end of this one.
    """

    command_id: UUID
    correlation_id: UUID
    actor: str
    trace: tuple[tuple[str, str], ...] = ()
    triggered: bool = False
    at: datetime | None = None
    parent: SagaContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The people that a step waits for: *needed* distinct actors must send *signal* for that hash."""

    signal: str
    needed: int
    message_sha256: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingStep:
    """A step, or one part of its undo, that has begun and has no outcome yet.

    *part*: None for the step itself, else the index of the undo. *send_at*: the time of the next attempt after a
    retryable rejection; nothing is in flight until then. *people*: set while people are awaited instead of a service.
    *asleep*: the step only waits for its deadline. *patient*: the deadline of the saga is suspended while the step is
    pending.
    *stuck*: why the step waits for an operator. The field names are keys of the stored entry.
    """

    step: str
    part: int | None
    attempt: int
    cause: UUID
    deadline: datetime
    send_at: datetime | None = None
    people: People | None = None
    asleep: bool = False
    patient: bool = False
    stuck: str | None = None

    @property
    def label(self) -> str:
        """The name of this step in messages (`CIM-Saga-Step`)."""
        return self.step if self.part is None else f"undo.{self.step}"

    @property
    def command_id(self) -> UUID:
        """The id of its command: derived, so that a command that is sent again after a crash is deduplicated."""
        return derive_id(self.cause, f"{self.label}/{self.part or 0}/{self.attempt}")

    @property
    def due_at(self) -> datetime | None:
        """The time of its next timer; None while it waits for an operator."""
        return None if self.stuck is not None else self.send_at or self.deadline

    @property
    def awaits_service(self) -> bool:
        """True if its command is in flight, or is to be sent now."""
        return self.send_at is None and self.people is None and not self.asleep and self.stuck is None

    def postponed(self, by: timedelta) -> PendingStep:
        """Returns the same step with all its times moved."""
        send_at = self.send_at + by if self.send_at else None
        return replace(self, deadline=self.deadline + by, send_at=send_at)

    def restarted(self, cause: UUID, at: datetime, timeout: timedelta) -> PendingStep:
        """Returns the first attempt of a new series, under a new command id."""
        return replace(self, cause=cause, attempt=1, send_at=None, stuck=None, deadline=at + timeout)

    def next_attempt(self, retry: Retry, cause: UUID, at: datetime, timeout: timedelta) -> PendingStep | None:
        """Returns the next attempt after its backoff; None if none is left."""
        if self.attempt >= retry.attempts:
            return None
        jitter = 0.8 + 0.4 * (cause.int & 0xFFFF) / 0xFFFF  # derived from the cause: the core has no randomness
        send_at = at + retry.delay_after(self.attempt) * jitter
        return replace(self, attempt=self.attempt + 1, cause=cause, send_at=send_at, deadline=send_at + timeout)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The event that ended *step*; `undo.<step>` for an undo."""

    step: str
    event: Event


@dataclass(frozen=True, slots=True)
class UndoPart:
    """One undo that has not begun yet: index *part* of the undos of *step*."""

    step: str
    part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal that was counted for *step*. The field names are keys of the stored entry."""

    step: str
    signal: str
    actor: str
    message_sha256: str | None
    command_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class PendingAnnouncement:
    """An announcement that is saved with the state and may not be published yet."""

    cause: UUID
    event: Event

    @property
    def event_id(self) -> UUID:
        sequence = getattr(self.event, "sequence", 0)
        return derive_id(self.cause, f"{type(self.event).__name__}/{self.event.identity}/{sequence}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga(Generic[R]):
    """State of one saga, and the only input of the functions in its definition.

    *finished_steps*: steps that are done or were skipped. *outcomes*: events of finished steps and undos, oldest first.
    *announcements*: those of the last transition. *timer_at*: when the scheduled timer fires. *suspended_at*: since
    when the deadline is suspended. *past_pivot*: the saga only goes forward. *operator_command_ids*: the last operator
    commands that it applied. *resolved*: steps of which a person stated that nothing is left over.
    """

    saga_type: str
    saga_id: str
    version: int
    request: R
    origin: Origin
    deadline: datetime
    phase: Phase = Phase.RUNNING
    pending: tuple[PendingStep, ...] = ()
    outcomes: tuple[StepOutcome, ...] = ()
    finished_steps: tuple[str, ...] = ()
    to_undo: tuple[UndoPart, ...] = ()
    undone: tuple[str, ...] = ()
    left_over: tuple[LeftOver, ...] = ()
    reason: str = ""
    cancelled_by: UUID | None = None
    signals: tuple[Signal, ...] = ()
    sequence: int = 0
    announcements: tuple[PendingAnnouncement, ...] = ()
    timer_at: datetime | None = None
    changed_at: datetime | None = None
    suspended_at: datetime | None = None
    paused_at: datetime | None = None
    past_pivot: bool = False
    undo_mode: UndoMode = UndoMode.COMPENSATION
    operator_command_ids: tuple[UUID, ...] = ()
    resolved: tuple[str, ...] = ()

    # -- for the functions of a definition ---------------------------------------------------------------------------

    def id_of(self, name: str) -> str:
        """Derives the id of something that this saga creates: known in advance, so an undo needs no outcome."""
        return str(derive_id(UUID(self.saga_id), name))

    def find(self, event_type: type[E], of: Callable[[Saga[R]], Command] | None = None) -> E | None:
        """Returns the newest outcome of that type (of the step whose command function is *of*); None without one."""
        step = of.__name__.replace("_", "-") if of else None
        for outcome in reversed(self.outcomes):
            if isinstance(outcome.event, event_type) and step in (None, outcome.step):
                return outcome.event
        return None

    def outcome(self, event_type: type[E], of: Callable[[Saga[R]], Command] | None = None) -> E:
        """Returns what `find` does, for a step that must be done by then. Raises LookupError without an outcome."""
        event = self.find(event_type, of)
        if event is None:
            raise LookupError(f"no step of {self.saga_type} {self.saga_id} ended with a {event_type.__name__}")
        return event

    def approvals_for(self, message_sha256: str) -> tuple[Approval, ...]:
        """Returns the approvals of those bytes, as the key service requires them."""
        return tuple(
            Approval(actor=signal.actor, message_sha256=message_sha256, command_id=str(signal.command_id), at=signal.at)
            for signal in self.signals
            if signal.message_sha256 == message_sha256
        )

    @property
    def heading(self) -> dict[str, Any]:
        """The fields that every announcement of this saga has."""
        return {"saga_id": self.saga_id, "saga_type": self.saga_type, "sequence": self.sequence}

    # -- for the state machine ---------------------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        return self.phase not in (Phase.RUNNING, Phase.COMPENSATING)

    @property
    def due_at(self) -> datetime | None:
        """The next time at which a timer must advance the saga; None if it is finished, paused or waits for people.

        Undoing has no deadline of its own, and neither has a saga past its pivot.
        """
        if self.paused_at is not None:
            return None
        times = [pending.due_at for pending in self.pending]
        return min((at for at in (*times, self.expires_at) if at is not None), default=None)

    @property
    def expires_at(self) -> datetime | None:
        """The deadline of the whole saga; None while it has none."""
        counts = self.phase is Phase.RUNNING and self.pending and not self.past_pivot and self.suspended_at is None
        return self.deadline if counts else None

    def with_pending(self, old: PendingStep, new: PendingStep | None) -> Saga[R]:
        """Returns the saga with *new* in the place of *old*, or without *old*."""
        pending = tuple(new if each is old else each for each in self.pending)
        return replace(self, pending=tuple(each for each in pending if each is not None))

    def with_announcement(self, event: Event, cause: UUID) -> Saga[R]:
        """Returns the saga with one more announcement to publish, caused by the message *cause*."""
        announcements = (*self.announcements, PendingAnnouncement(cause, event))
        return replace(self, announcements=announcements, sequence=self.sequence + 1)

    def changed(self, at: datetime) -> Saga[R]:
        """Returns the saga as changed at *at*; its deadline is suspended while it is paused or a step is patient."""
        suspended = self.paused_at is not None or any(pending.patient for pending in self.pending)
        match suspended, self.suspended_at:
            case True, None:
                return replace(self, changed_at=at, suspended_at=at)
            case False, datetime() as since:
                moved = self.deadline + max(at - since, timedelta())
                return replace(self, changed_at=at, suspended_at=None, deadline=moved)
            case _:
                return replace(self, changed_at=at)
