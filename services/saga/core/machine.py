"""How any saga moves. Pure: the same definition, state and message lead to the same state; it knows nothing of keys.

What is to be sent (announcements, pending commands, a timer) follows from the state alone, so that after a crash it
is sent again with the same ids. Semantics and their reasons: docs/adr/0006-saga-state-and-compensation.md
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, TypeVar, assert_never
from uuid import UUID

from services.saga.core.compensation import Because, compensate, undo_next, undo_refused, undone
from services.saga.core.definition import Await, Definition, Sleep, Step
from services.saga.core.failure import fail, inheriting, stuck
from services.saga.core.operations import Ordered, obey
from services.saga.core.pending_command import Question
from services.saga.core.progress import finish, go_on
from services.saga.core.signals import Signalled, answer_to, hear, heard, wanted, with_patience
from services.saga.core.state import Answered, Origin, Saga
from services.saga.core.steps import flat
from shared.contracts.base import Command, Event
from shared.contracts.rejection import CommandRejected, CommandRepeated
from shared.contracts.saga.protocol import SagaParent, SagaStarted, StartSaga
from shared.contracts.yubikey.prompts import PromptRaised

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


Message: TypeAlias = Heard | Due | Ordered | Signalled


def begin(definition: Definition[R], request: R, origin: Origin, at: datetime) -> Saga[R]:
    """The saga that *request* asks for, with its first questions pending."""
    saga = Saga(
        saga_type=definition.saga_type,
        saga_id=request.saga_id,
        version=definition.version,
        request=request,
        origin=origin,
        deadline=at + definition.within,
        past_pivot=definition.forward,
    )
    steps = tuple(step.name for step in flat(definition.steps) if step.foreseen(saga))
    parent = origin.parent
    started = SagaStarted(
        **saga.heading,
        definition_version=definition.version,
        steps=steps,
        request=request.model_dump(mode="json"),
        began_at=at,
        triggered=origin.triggered,
        parent=SagaParent(saga_type=parent.saga_type, saga_id=parent.saga_id, step=parent.step) if parent else None,
    )
    saga = saga.announcing(started, origin.command_id)
    # One event may begin several sagas: what each asks first is caused by the beginning that is its own.
    cause = saga.announcements[0].event_id if origin.triggered else origin.command_id
    return _armed(go_on(definition, saga, cause, at), at)


def advance(definition: Definition[R], saga: Saga[R], message: Message) -> Saga[R]:
    """Where the saga stands after *message*; a message that it does not wait for changes nothing."""
    if saga.over and not isinstance(message, Ordered):
        return saga
    before, saga = saga, replace(saga, announcements=())
    match message:
        case Heard():
            after = _hear(definition, saga, message)
        case Due():
            after = _due(definition, replace(saga, armed=None), message)
        case Ordered():
            after = _order(definition, saga, message)
        case Signalled():
            after = _signal(definition, saga, message)
        case _:
            assert_never(message)
    if after is saga:
        return before
    return _armed(after, message.at)


def asked(saga: Saga[R]) -> Iterator[Question]:
    """What is pending and may be sent now. A paused saga sends nothing."""
    if saga.paused_at is None:
        yield from (pending for pending in saga.questions if pending.asked)


def questions(
    definition: Definition[R], saga: Saga[R], but: Collection[UUID] = ()
) -> Iterator[tuple[Question, Command]]:
    """The commands that are pending and may be sent now, *but* those of these ids."""
    for pending in asked(saga):
        if pending.command_id not in but:
            yield pending, _command(definition, saga, pending)


def _command(definition: Definition[R], saga: Saga[R], pending: Question) -> Command:
    step = definition.step(pending.step)
    if pending.part is not None:
        return step.undo[pending.part].ask(saga)
    assert isinstance(step, Step)
    return step.ask(saga)


def _hear(definition: Definition[R], saga: Saga[R], heard: Heard) -> Saga[R]:
    if isinstance(heard.event, PromptRaised):
        return with_patience(definition, saga, heard.event)
    pending = next((each for each in saga.questions if each.asked and each.command_id == heard.command_id), None)
    if pending is None:
        return saga  # a stranger, a duplicate, or an answer to what is no longer asked
    if not _is_about(heard.event, _command(definition, saga, pending)):
        return saga  # somebody gave another command the id of this one
    step = definition.step(pending.step)
    assert isinstance(step, Step)
    if pending.part is None:
        return _hear_step(definition, saga, step, pending, heard)
    undo = step.undo[pending.part]
    match heard.event:
        case CommandRejected(message=reason, code=code):
            return undo_refused(definition, saga, pending, Because(code, reason, heard.event_id, heard.at))
        case event if isinstance(event, (undo.done, CommandRepeated)):
            saga = replace(saga, answers=(*saga.answers, Answered(pending.label, event)))
            return undo_next(definition, undone(saga, step), heard.event_id, heard.at)
        case event if isinstance(event, undo.failed):
            reason = str(getattr(event, "reason", type(event).__name__))
            return undo_refused(definition, saga, pending, Because("", reason, heard.event_id, heard.at))
        case _:
            return saga


def _is_about(event: Event, asked: Command) -> bool:
    """Whether *event* can be an answer to *asked*: ids of commands can be computed by whoever reads the log."""
    match event:
        case CommandRejected() | CommandRepeated():
            return (event.command_type, event.aggregate_id) == (type(asked).__name__, asked.identity)
        case _:
            return (event.aggregate_type, event.identity) == (asked.aggregate_type, asked.identity)


def _hear_step(definition: Definition[R], saga: Saga[R], step: Step[R], pending: Question, heard: Heard) -> Saga[R]:
    match heard.event:
        case CommandRejected() as rejected:
            if rejected.retryable and rejected.code not in step.retry.never:
                again = pending.again(step.retry, heard.event_id, heard.at, step.within)
                if again is not None:
                    return saga.with_question(pending, again).now(heard.at)
            why = Because(rejected.code, rejected.message, heard.event_id, heard.at)
            return fail(definition, saga, why, pending)
        case CommandRepeated() if step.may_stand:
            return finish(definition, saga, pending, heard.event_id, heard.at)
        case CommandRepeated():
            reason = "what the step asks for was there already, by somebody else"
            return fail(definition, saga, Because("conflict", reason, heard.event_id, heard.at), pending)
        case event if isinstance(event, step.done):
            saga = replace(saga, answers=(*saga.answers, Answered(step.name, event)))
            return finish(definition, saga, pending, heard.event_id, heard.at)
        case event if step.failed and isinstance(event, step.failed):
            reason = str(getattr(event, "reason", type(event).__name__))
            why = Because(type(event).__name__, reason, heard.event_id, heard.at)
            return fail(definition, inheriting(saga, pending, event), why, pending)
        case _:
            return saga


def _due(definition: Definition[R], saga: Saga[R], due: Due) -> Saga[R]:
    if saga.due is None or due.at < saga.due:
        return saga  # too early, or nothing is due: it is armed again
    if saga.ends_at is not None and due.at >= saga.ends_at:
        reason = f"the saga did not finish within {definition.within.total_seconds():g} s"
        waiting = definition.step(saga.questions[0].step)
        return compensate(definition, saga, Because("timeout", reason, due.timer_id, due.at), waiting)
    pending = next(each for each in saga.questions if each.due is not None and each.due <= due.at)
    step = definition.step(pending.step)
    if pending.asleep:
        return finish(definition, saga, pending, due.timer_id, due.at)
    if pending.people is not None:
        reason = (
            f"{heard(saga, pending)} of {pending.people.needed} said {pending.people.signal!r} within {step.within}"
        )
        return fail(definition, saga, Because("timeout", reason, due.timer_id, due.at), pending)
    within = step.within if pending.part is None else step.undo[pending.part].within
    if pending.send_at is not None:
        asked = replace(pending, send_at=None, deadline=due.at + within)
        return saga.with_question(pending, asked).now(due.at)
    if pending.part is not None:
        reason = f"no answer within {within.total_seconds():g} s"
        return undo_refused(definition, saga, pending, Because("", reason, due.timer_id, due.at))
    return _unanswered(definition, saga, step, pending, due)


def _unanswered(
    definition: Definition[R], saga: Saga[R], step: Step[R] | Await[R] | Sleep[R], pending: Question, due: Due
) -> Saga[R]:
    """What became of the step is unknown: it is undone too, or where there is no way back it is asked again."""
    reason = f"no answer within {step.within.total_seconds():g} s: what became of it is unknown"
    why = Because("timeout", reason, due.timer_id, due.at)
    if not saga.past_pivot:
        return compensate(definition, saga, why, step)
    assert isinstance(step, Step)
    again = pending.again(step.retry, due.timer_id, due.at, step.within)
    return saga.with_question(pending, again).now(due.at) if again else stuck(saga, why, pending)


def _order(definition: Definition[R], saga: Saga[R], order: Ordered) -> Saga[R]:
    if order.command_id in saga.orders:
        return saga
    outcome = obey(definition, saga, order)
    return outcome if isinstance(outcome, Saga) else saga


def _signal(definition: Definition[R], saga: Saga[R], said: Signalled) -> Saga[R]:
    asked = wanted(saga, said)
    if answer_to(saga, said) is not None or asked is None or asked.people is None:
        return saga
    if any(kept.command_id == said.command_id for kept in saga.signals):
        return saga
    saga = hear(saga, asked, said)
    if heard(saga, asked) < asked.people.needed:
        return saga
    return finish(definition, saga, asked, saga.announcements[-1].event_id, said.at)


def _armed(saga: Saga[R], at: datetime) -> Saga[R]:
    """Have a timer stand at or before whatever is due next; one that stands earlier is left: it is looked at then."""
    if (due := saga.due) is None:
        return replace(saga, armed=None)
    if saga.armed is not None and at < saga.armed <= due:
        return saga
    return replace(saga, armed=max(due, at))
