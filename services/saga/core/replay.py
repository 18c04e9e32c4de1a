"""Replay of one event of a saga's log: applies to the state machine what led to an announcement.

Pure. Operator commands, signals and timers are in no log: they are reconstructed from the announcement they led to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.saga.core import machine
from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import (
    EventReceived,
    OperatorCommand,
    OperatorCommandReceived,
    SignalReceived,
    TimerFired,
)
from services.saga.core.state import Saga
from shared.contracts.base import Event
from shared.contracts.saga import protocol

_MAX_TIMERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """An event in the log that concerns a saga.

    *cause*: the command that it answers; of an announcement, its causation id. *step*: the `CIM-Saga-Step` header.
    """

    event_id: UUID
    cause: UUID
    event: Event
    at: datetime
    step: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The saga after some outcomes that led to no announcement, and which of them it applied."""

    saga: Saga[Any]
    applied: list[LoggedEvent]


def apply_silent_outcomes(definition: AnyDefinition, saga: Saga[Any], outcomes: Iterable[LoggedEvent]) -> Replayed:
    """Applies those *outcomes* that lead to no announcement.

    The others were received later: when the saga was paused, or had begun to compensate.
    """
    applied = []
    for outcome in outcomes:
        after = apply_outcome(definition, saga, outcome)
        if after.sequence == saga.sequence:
            saga = after
            applied.append(outcome)
    return Replayed(saga, applied)


def apply_outcome(definition: AnyDefinition, saga: Saga[Any], outcome: LoggedEvent) -> Saga[Any]:
    received = EventReceived(event_id=outcome.event_id, command_id=outcome.cause, event=outcome.event, at=outcome.at)
    after = machine.advance(definition, saga, received)
    if after is not saga:
        return after
    ready = _fire_timers(definition, saga, outcome, lambda now: now.is_finished or _has_begun(now, outcome.step))
    pending = next((each for each in ready.pending if each.label == outcome.step), None)
    if pending is None:
        return saga
    if pending.send_at is not None:  # the next attempt had been sent by then
        ready = machine.advance(definition, ready, TimerFired(outcome.event_id, pending.send_at))
        after = machine.advance(definition, ready, received)
    if after in (saga, ready) and (pending.part is not None or saga.past_pivot):
        # A timer had sent the command again under an id that is in no log: the step name identifies the outcome.
        after = machine.advance(definition, ready, replace(received, command_id=pending.command_id))
    return saga if after is ready else after


def _has_begun(saga: Saga[Any], step: str) -> bool:
    """True if the step is pending, or never will be: undos run one after another, and earlier ones were given up."""
    to_undo = any(f"undo.{part.step}" == step for part in saga.to_undo)
    return not to_undo or any(pending.label == step for pending in saga.pending)


def apply_cause_of(
    definition: AnyDefinition, saga: Saga[Any], announcement: LoggedEvent, outcome: LoggedEvent | None
) -> Saga[Any]:
    """Applies what led to the announcement: the *outcome*, if its cause is in the log, else what can be inferred."""
    if outcome is not None:
        after = apply_outcome(definition, saga, outcome)
        if after.sequence > saga.sequence:
            return after
    match announcement.event:
        case protocol.SagaSignalled() as signalled:
            people = (each.people for each in saga.pending if each.people and each.step == signalled.step)
            signal = SignalReceived(
                command_id=announcement.cause,
                signal=signalled.signal,
                actor=signalled.actor,
                message_sha256=next((each.message_sha256 for each in people), None),
                comment=signalled.comment,
                at=announcement.at,
            )
            return machine.advance(definition, saga, signal)
        case protocol.SagaRetried(saga_id=saga_id, reason=reason):
            waiting = _fire_timers(definition, saga, announcement, _waits_for_an_attempt)
            command = protocol.RetrySaga(saga_id=saga_id, reason=reason)
            received = OperatorCommandReceived(announcement.cause, command, announcement.at)
            return machine.advance(definition, waiting, received)
        case event if (inferred := _operator_command(event)) is not None:
            received = OperatorCommandReceived(announcement.cause, inferred, _received_at(saga, announcement))
            return machine.advance(definition, saga, received)
        case _:
            return _fire_timers(definition, saga, announcement, lambda after: after.sequence > saga.sequence)


def _operator_command(event: Event) -> OperatorCommand | None:
    """Infers the operator command that leads to this announcement; None if none does."""
    match event:
        case protocol.SagaPaused(saga_id=saga_id, reason=reason):
            return protocol.PauseSaga(saga_id=saga_id, reason=reason)
        case protocol.SagaResumed(saga_id=saga_id):
            return protocol.ResumeSaga(saga_id=saga_id)
        case protocol.SagaWithdrawing(saga_id=saga_id, reason=reason):
            return protocol.WithdrawSaga(saga_id=saga_id, reason=reason)
        case protocol.SagaCompensating(saga_id=saga_id, code="withdrawn", reason=reason):
            return protocol.WithdrawSaga(saga_id=saga_id, reason=reason)
        case protocol.SagaCompensating(saga_id=saga_id, code="cancelled", reason=reason):
            return protocol.CancelSaga(saga_id=saga_id, reason=reason)
        case protocol.SagaResolved() as resolved:
            return protocol.ResolveSaga(
                saga_id=resolved.saga_id,
                step=resolved.step,
                outcome="done" if resolved.outcome == "done" else "undone",
                reason=resolved.reason,
                answer=resolved.answer,
            )
        case _:
            return None


def _received_at(saga: Saga[Any], announcement: LoggedEvent) -> datetime:
    if isinstance(announcement.event, protocol.SagaResumed) and saga.paused_at is not None:
        return saga.paused_at + timedelta(seconds=announcement.event.paused_seconds)
    return announcement.at


def _fire_timers(
    definition: AnyDefinition, saga: Saga[Any], cause: LoggedEvent, until: Callable[[Saga[Any]], bool]
) -> Saga[Any]:
    for _ in range(_MAX_TIMERS):
        if until(saga) or saga.due_at is None:
            break
        saga = machine.advance(definition, saga, TimerFired(cause.cause, saga.due_at))
    return saga


def _waits_for_an_attempt(saga: Saga[Any]) -> bool:
    return saga.is_finished or any(each.stuck is not None or each.send_at is not None for each in saga.pending)
