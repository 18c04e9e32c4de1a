"""One step of playing a saga again: what an answer in the log, or what led to an announcement, does to the engine.

Pure. An order, a person's word and a timer are in no log: they are made of the announcement that they led to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.saga.core import machine
from services.saga.core.definition import AnyDefinition
from services.saga.core.machine import Due, Heard
from services.saga.core.operations import OperatorCommand, Ordered
from services.saga.core.signals import Signalled
from services.saga.core.state import Saga
from shared.contracts.base import Event
from shared.contracts.saga import protocol as said

_MOST_TIMERS = 1000


@dataclass(frozen=True, slots=True)
class Logged:
    """An event that concerns a saga. *cause*: the command that it answers; of an announcement, what it names as its
    cause. *step*: for which step it was asked (`CIM-Saga-Step`)."""

    event_id: UUID
    cause: UUID
    event: Event
    at: datetime
    step: str = ""


def in_silence(definition: AnyDefinition, saga: Saga[Any], answers: Iterable[Logged]) -> tuple[Saga[Any], list[Logged]]:
    """After those *answers* that led to no announcement; and which they are. What would lead to one was heard later:
    when the saga was paused, or had turned back."""
    which = []
    for each in answers:
        after = heard(definition, saga, each)
        if after.sequence == saga.sequence:
            saga = after
            which.append(each)
    return saga, which


def heard(definition: AnyDefinition, saga: Saga[Any], answer: Logged) -> Saga[Any]:
    heard = Heard(answer.event_id, answer.cause, answer.event, answer.at)
    after = machine.advance(definition, saga, heard)
    if after is not saga:
        return after
    ready = _timed(definition, saga, answer, lambda now: now.over or _asks(now, answer.step))
    pending = next((each for each in ready.questions if each.label == answer.step), None)
    if pending is None:
        return saga
    if pending.send_at is not None:  # its time had come by then
        ready = machine.advance(definition, ready, Due(answer.event_id, pending.send_at))
        after = machine.advance(definition, ready, heard)
    if after in (saga, ready) and (pending.part is not None or saga.past_pivot):
        # Asked again by a timer, whose id is in no log, it had another id: it is known by its step.
        after = machine.advance(definition, ready, replace(heard, command_id=pending.command_id))
    return saga if after is ready else after


def _asks(saga: Saga[Any], step: str) -> bool:
    """Whether that is pending, or will not be: of what is undone, one after another, what came before was given up."""
    undoing = any(f"undo.{each.step}" == step for each in saga.to_undo)
    return not undoing or any(each.label == step for each in saga.questions)


def moved(definition: AnyDefinition, saga: Saga[Any], told: Logged, cause: Logged | None) -> Saga[Any]:
    """The saga after what led to that announcement."""
    if cause is not None:
        after = heard(definition, saga, cause)
        if after.sequence > saga.sequence:
            return after
    match told.event:
        case said.SagaSignalled() as signal:
            people = (each.people for each in saga.questions if each.people and each.step == signal.step)
            sha256 = next((each.message_sha256 for each in people), None)
            person = Signalled(told.cause, signal.signal, signal.actor, sha256, signal.comment, told.at)
            return machine.advance(definition, saga, person)
        case said.SagaRetried(saga_id=saga_id, reason=reason):
            waiting = _timed(definition, saga, told, _waits_for_an_attempt)
            return machine.advance(
                definition, waiting, Ordered(told.cause, said.RetrySaga(saga_id=saga_id, reason=reason), told.at)
            )
        case event if (order := _order(event)) is not None:
            return machine.advance(definition, saga, Ordered(told.cause, order, _ordered_at(saga, told)))
        case _:
            return _timed(definition, saga, told, lambda after: after.sequence > saga.sequence)


def _order(event: Event) -> OperatorCommand | None:
    """The operator's command that leads to that announcement, if it is one's."""
    match event:
        case said.SagaPaused(saga_id=saga_id, reason=reason):
            return said.PauseSaga(saga_id=saga_id, reason=reason)
        case said.SagaResumed(saga_id=saga_id):
            return said.ResumeSaga(saga_id=saga_id)
        case said.SagaWithdrawing(saga_id=saga_id, reason=reason):
            return said.WithdrawSaga(saga_id=saga_id, reason=reason)
        case said.SagaCompensating(saga_id=saga_id, code="withdrawn", reason=reason):
            return said.WithdrawSaga(saga_id=saga_id, reason=reason)
        case said.SagaCompensating(saga_id=saga_id, code="cancelled", reason=reason):
            return said.CancelSaga(saga_id=saga_id, reason=reason)
        case said.SagaResolved() as resolved:
            return said.ResolveSaga(
                saga_id=resolved.saga_id,
                step=resolved.step,
                outcome="done" if resolved.outcome == "done" else "undone",
                reason=resolved.reason,
                answer=resolved.answer,
            )
        case _:
            return None


def _ordered_at(saga: Saga[Any], told: Logged) -> datetime:
    if isinstance(told.event, said.SagaResumed) and saga.paused_at is not None:
        return saga.paused_at + timedelta(seconds=told.event.paused_seconds)
    return told.at


def _timed(definition: AnyDefinition, saga: Saga[Any], told: Logged, enough: Callable[[Saga[Any]], bool]) -> Saga[Any]:
    """After as many timers as it took."""
    for _ in range(_MOST_TIMERS):
        if enough(saga) or saga.due is None:
            break
        saga = machine.advance(definition, saga, Due(told.cause, saga.due))
    return saga


def _waits_for_an_attempt(saga: Saga[Any]) -> bool:
    return saga.over or any(each.stuck is not None or each.send_at is not None for each in saga.questions)
