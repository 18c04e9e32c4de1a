"""How any saga moves. Pure: the same definition, state and message lead to the same state; it knows nothing of keys.

What is to be sent (announcements, the pending command, a timer) follows from the state alone, so that after a crash it
is sent again with the same ids. Semantics and their reasons: docs/adr/0006-sagas.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar, assert_never
from uuid import UUID

from services.saga.compensation import Because, compensate, undo_next, undo_refused, undone
from services.saga.definition import Await, Definition, Step
from services.saga.state import Answered, Origin, Phase, Question, Saga
from services.saga.waiting import Signalled, answer_to, hear, heard, wait, with_patience
from shared.contracts.base import Command, Event
from shared.contracts.command import CommandRejected, CommandRepeated
from shared.contracts.prompt import PromptRaised
from shared.contracts.saga import (
    SagaStarted,
    SagaStepFinished,
    StartSaga,
)

R = TypeVar("R", bound=StartSaga)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that some command caused."""

    event_id: UUID
    command_id: UUID
    event: Event
    at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A timer fired, or a watchdog looked: *at* is now."""

    timer_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An operator wants it undone."""

    command_id: UUID
    reason: str
    at: datetime


Message: TypeAlias = Heard | Due | Cancelled | Signalled


def begin(definition: Definition[R], request: R, origin: Origin, at: datetime) -> Saga[R]:
    """The saga that *request* asks for, with its first question pending."""
    saga = Saga(
        saga_type=definition.saga_type,
        saga_id=request.saga_id,
        version=definition.version,
        request=request,
        origin=origin,
        deadline=at + definition.within,
    )
    steps = tuple(step.name for step in definition.steps if step.foreseen(saga))
    started = SagaStarted(**saga.heading, definition_version=definition.version, steps=steps)
    saga = saga.announcing(started, origin.command_id)
    # One event may begin several sagas: what each asks first is caused by the beginning that is its own.
    cause = saga.announcements[0].event_id if origin.triggered else origin.command_id
    return _armed(_ask_next(definition, saga, 0, cause, at), at)


def advance(definition: Definition[R], saga: Saga[R], message: Message) -> Saga[R]:
    """Where the saga stands after *message*; a message that it does not wait for changes nothing."""
    if saga.over:
        return saga
    before, saga = saga, replace(saga, announcements=())
    match message:
        case Heard():
            after = _hear(definition, saga, message)
        case Due():
            after = _due(definition, replace(saga, armed=None), message)
        case Cancelled():
            after = _cancel(definition, saga, message)
        case Signalled():
            after = _signal(definition, saga, message)
        case _:
            assert_never(message)
    if after is saga:
        return before
    return _armed(after, message.at)


def question(definition: Definition[R], saga: Saga[R]) -> Command | None:
    """The command that is pending and may be sent now; None when there is none."""
    pending = saga.question
    if pending is None or pending.send_at is not None:
        return None
    step = definition.step(pending.step)
    if isinstance(step, Await):
        return None
    return step.ask(saga) if pending.part is None else step.undo[pending.part].ask(saga)


def _hear(definition: Definition[R], saga: Saga[R], heard: Heard) -> Saga[R]:
    pending = saga.question
    asked = question(definition, saga)
    if isinstance(heard.event, PromptRaised) and pending is not None:
        return with_patience(definition, saga, pending, heard.event)
    if pending is None or asked is None or heard.command_id != pending.command_id:
        return saga  # a stranger, a duplicate, or an answer to what is no longer asked
    if not _is_about(heard.event, asked):
        return saga  # somebody gave another command the id of this one
    step = definition.step(pending.step)
    assert isinstance(step, Step)
    if pending.part is None:
        return _hear_step(definition, saga, step, heard)
    undo = step.undo[pending.part]
    match heard.event:
        case CommandRejected(message=reason, code=code):
            return undo_refused(definition, saga, f"{code}: {reason}", heard.event_id, heard.at)
        case event if isinstance(event, (undo.done, CommandRepeated)):
            saga = replace(saga, answers=(*saga.answers, Answered(pending.label, event)))
            return undo_next(definition, undone(saga, step), heard.event_id, heard.at)
        case _:
            return saga


def _is_about(event: Event, asked: Command) -> bool:
    """Whether *event* can be an answer to *asked*: ids of commands can be computed by whoever reads the log."""
    match event:
        case CommandRejected() | CommandRepeated():
            return (event.command_type, event.aggregate_id) == (type(asked).__name__, asked.identity)
        case _:
            return (event.aggregate_type, event.identity) == (asked.aggregate_type, asked.identity)


def _hear_step(definition: Definition[R], saga: Saga[R], step: Step[R], heard: Heard) -> Saga[R]:
    assert saga.question is not None
    match heard.event:
        case CommandRejected() as rejected:
            if rejected.retryable and rejected.code not in step.retry.never:
                again = saga.question.again(step.retry, heard.event_id, heard.at, step.within)
                if again is not None:
                    return replace(saga, question=again)
            why = Because(rejected.code, rejected.message, heard.event_id, heard.at)
            return compensate(definition, saga, why, step)
        case CommandRepeated() if step.may_stand:
            return _finish(definition, saga, step, heard.event_id, heard.at)
        case CommandRepeated():
            reason = "what the step asks for was there already, by somebody else"
            return compensate(definition, saga, Because("conflict", reason, heard.event_id, heard.at), step)
        case event if isinstance(event, step.done):
            saga = replace(saga, answers=(*saga.answers, Answered(step.name, event)))
            return _finish(definition, saga, step, heard.event_id, heard.at)
        case event if step.failed and isinstance(event, step.failed):
            reason = str(getattr(event, "reason", type(event).__name__))
            return compensate(definition, saga, Because(type(event).__name__, reason, heard.event_id, heard.at), step)
        case _:
            return saga


def _due(definition: Definition[R], saga: Saga[R], due: Due) -> Saga[R]:
    pending = saga.question
    if pending is None:
        return saga
    step = definition.step(pending.step)
    if pending.people is not None and due.at >= pending.due:
        reason = f"{heard(saga)} of {pending.people.needed} said {pending.people.signal!r} within {step.within}"
        return compensate(definition, saga, Because("timeout", reason, due.timer_id, due.at), step)
    if saga.phase is Phase.RUNNING and pending.people is None and due.at >= saga.deadline:
        asked = step if pending.send_at is None else None
        reason = f"the saga did not finish within {definition.within.total_seconds():g} s"
        return compensate(definition, saga, Because("timeout", reason, due.timer_id, due.at), step, asked)
    if due.at < pending.due:
        return saga  # too early: it is armed again
    if pending.send_at is not None:
        within = step.within if pending.part is None else step.undo[pending.part].within
        return replace(saga, question=replace(pending, send_at=None, deadline=due.at + within))
    if pending.part is None:
        reason = f"no answer within {step.within.total_seconds():g} s: what became of it is unknown"
        return compensate(definition, saga, Because("timeout", reason, due.timer_id, due.at), step, step)
    reason = f"no answer within {step.undo[pending.part].within.total_seconds():g} s"
    return undo_refused(definition, saga, reason, due.timer_id, due.at)


def _cancel(definition: Definition[R], saga: Saga[R], cancelled: Cancelled) -> Saga[R]:
    if saga.phase is not Phase.RUNNING or saga.question is None:
        return saga
    step = definition.step(saga.question.step)
    asked = step if saga.question.send_at is None else None
    saga = replace(saga, cancelled_by=cancelled.command_id)
    why = Because("cancelled", cancelled.reason, cancelled.command_id, cancelled.at)
    return compensate(definition, saga, why, None, asked)


def _signal(definition: Definition[R], saga: Saga[R], said: Signalled) -> Saga[R]:
    asked = saga.question
    if answer_to(saga, said) is not None or asked is None or asked.people is None:
        return saga
    if any(kept.command_id == said.command_id for kept in saga.signals):
        return saga
    saga = hear(saga, said)
    if heard(saga) < asked.people.needed:
        return saga
    waited = max(said.at - asked.people.since, timedelta())
    saga = replace(saga, deadline=saga.deadline + waited)
    return _finish(definition, saga, definition.step(asked.step), saga.announcements[-1].event_id, said.at)


def _finish(definition: Definition[R], saga: Saga[R], step: Step[R] | Await[R], cause: UUID, at: datetime) -> Saga[R]:
    """What the step asked for is so: say it, and go on."""
    assert saga.question is not None
    finished = SagaStepFinished(**saga.heading, step=step.name, attempts=saga.question.attempt)
    saga = saga.announcing(finished, cause)
    return _ask_next(definition, saga, definition.steps.index(step) + 1, cause, at)


def _ask_next(definition: Definition[R], saga: Saga[R], index: int, cause: UUID, at: datetime) -> Saga[R]:
    """Ask the first step from *index* on that this saga has need of; after the last, it is complete."""
    for step in definition.steps[index:]:
        if not step.wanted(saga):
            continue
        if isinstance(step, Await):
            return wait(saga, step, cause, at)
        return replace(saga, question=Question(step.name, None, 1, cause, at + step.within), changed_at=at)
    saga = saga.announcing(definition.completed(saga), cause)
    return replace(saga, phase=Phase.COMPLETED, question=None, changed_at=at)


def _armed(saga: Saga[R], at: datetime) -> Saga[R]:
    """Have a timer stand at or before whatever is due next; one that stands earlier is left: it is looked at then."""
    if (due := saga.due) is None:
        return replace(saga, armed=None)
    if saga.armed is not None and at < saga.armed <= due:
        return saga
    return replace(saga, armed=max(due, at))
