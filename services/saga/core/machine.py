"""The saga state machine: `begin` makes a saga, `advance` applies one input to it.

Pure: the same definition, state and input lead to the same state. Announcements, pending commands and the timer follow
from the state alone, so that a restarted coordinator sends them again under the same ids.
This module says what each input means for a saga, `transitions` what follows from it. Reasons and semantics:
docs/adr/0006-saga-state-and-compensation.md
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar, assert_never
from uuid import UUID

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from services.saga.core.definition import Definition, Step
from services.saga.core.inputs import EventReceived, Input, OperatorCommandReceived, SignalReceived, TimerFired
from services.saga.core.state import Origin, PendingStep, Phase, Saga, Signal, UndoMode
from services.saga.core.steps import flatten
from services.saga.core.transitions import (
    Cause,
    Failure,
    begin_next_steps,
    compensate,
    end_undoing,
    fail_step,
    fail_undo,
    finish_step,
    finish_undo,
    mark_stuck,
    repair,
    roll_back,
    undo_next,
)
from shared.contracts.base import Command, Event
from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.contracts.saga import protocol
from shared.contracts.saga.protocol import StartSaga
from shared.contracts.yubikey.prompts import PromptRaised
from shared.decider import AlreadyDone, Rejection

R = TypeVar("R", bound=StartSaga)
_MAX_OPERATOR_COMMAND_IDS = 16
_MAX_REASON = 256


def begin(definition: Definition[R], request: R, origin: Origin, at: datetime) -> Saga[R]:
    """Creates the saga of *request*, with its first steps pending."""
    saga = Saga(
        saga_type=definition.saga_type,
        saga_id=request.saga_id,
        version=definition.version,
        request=request,
        origin=origin,
        deadline=at + definition.timeout,
        past_pivot=definition.forward_only,
    )
    parent = origin.parent
    started = protocol.SagaStarted(
        **saga.heading,
        definition_version=definition.version,
        steps=tuple(step.name for step in flatten(definition.steps) if step.is_planned(saga)),
        request=request.model_dump(mode="json"),
        began_at=at,
        triggered=origin.triggered,
        parent=protocol.SagaParent(saga_type=parent.saga_type, saga_id=parent.saga_id, step=parent.step)
        if parent
        else None,
    )
    saga = saga.with_announcement(started, origin.command_id)
    # One event may start several sagas: `started` as the cause gives their first commands ids of their own.
    message_id = saga.announcements[0].event_id if origin.triggered else origin.command_id
    return _with_timer(begin_next_steps(definition, saga, Cause(message_id, at)), at)


def advance(definition: Definition[R], saga: Saga[R], received: Input) -> Saga[R]:
    """Returns the saga after one input; the same object if the saga does not wait for that input."""
    if saga.is_finished and not isinstance(received, OperatorCommandReceived):
        return saga
    current = replace(saga, announcements=())
    match received:
        case EventReceived():
            after = _on_event(definition, current, received)
        case TimerFired():
            after = _on_timer(definition, replace(current, timer_at=None), received)
        case SignalReceived():
            after = _on_signal(definition, current, received)
        case OperatorCommandReceived():
            after = _on_operator_command(definition, current, received)
        case _:
            assert_never(received)
    return saga if after is current else _with_timer(after, received.at)


def _with_timer(saga: Saga[R], at: datetime) -> Saga[R]:
    """Sets the timer to the next due time. An earlier timer stays, which saves a message, and is set again then."""
    if (due_at := saga.due_at) is None:
        return replace(saga, timer_at=None)
    if saga.timer_at is not None and at < saga.timer_at <= due_at:
        return saga
    return replace(saga, timer_at=max(due_at, at))


# -- pending commands ------------------------------------------------------------------------------------------------


def pending_commands(
    definition: Definition[R], saga: Saga[R], exclude: Collection[UUID] = ()
) -> Iterator[tuple[PendingStep, Command]]:
    """Yields the commands that the saga has to send now, without those whose ids are in *exclude*."""
    for pending in steps_in_flight(saga):
        if pending.command_id not in exclude:
            yield pending, definition.command_of(saga, pending)


def steps_in_flight(saga: Saga[R]) -> Iterator[PendingStep]:
    """Yields the pending steps that await a service. A paused saga sends nothing."""
    if saga.paused_at is None:
        yield from (pending for pending in saga.pending if pending.awaits_service)


# -- events ----------------------------------------------------------------------------------------------------------


def _on_event(definition: Definition[R], saga: Saga[R], received: EventReceived) -> Saga[R]:
    if isinstance(received.event, PromptRaised):
        return _extend_for_prompt(definition, saga, received.event)
    pending = next(
        (each for each in saga.pending if each.awaits_service and each.command_id == received.command_id), None
    )
    if pending is None:
        return saga  # a duplicate, a late outcome, or the outcome of another sender's command
    if not _is_outcome_of(received.event, definition.command_of(saga, pending)):
        return saga  # a reader of the log can compute our command ids and use one for another command
    step = definition.step(pending.step)
    assert isinstance(step, Step)
    if pending.part is None:
        return _on_step_outcome(definition, saga, step, pending, received)
    return _on_undo_outcome(definition, saga, step, pending, received)


def _is_outcome_of(event: Event, command: Command) -> bool:
    match event:
        case CommandRejected() | CommandRepeated():
            return (event.command_type, event.aggregate_id) == (type(command).__name__, command.identity)
        case _:
            return (event.aggregate_type, event.identity) == (command.aggregate_type, command.identity)


def _on_step_outcome(
    definition: Definition[R], saga: Saga[R], step: Step[R], pending: PendingStep, received: EventReceived
) -> Saga[R]:
    cause = Cause(received.event_id, received.at)
    match received.event:
        case CommandRejected() as rejected:
            if rejected.retryable and rejected.code not in step.retry.never:
                retried = pending.next_attempt(step.retry, received.event_id, received.at, step.timeout)
                if retried is not None:
                    return saga.with_pending(pending, retried).changed(received.at)
            failure = Failure(code=rejected.code, reason=rejected.message, cause=cause)
            return fail_step(definition, saga, pending, failure)
        case CommandRepeated() if step.already_done_ok:
            return finish_step(definition, saga, pending, cause)
        case CommandRepeated():
            reason = "the result of the step exists already, and this saga did not create it"
            return fail_step(definition, saga, pending, Failure(code="conflict", reason=reason, cause=cause))
        case event if isinstance(event, step.done):
            return finish_step(definition, saga, pending, cause, event)
        case event if step.failed and isinstance(event, step.failed):
            failure = Failure(code=type(event).__name__, reason=_reason_of(event), cause=cause)
            return fail_step(definition, _with_left_over_of_child(saga, pending, event), pending, failure)
        case _:
            return saga


def _on_undo_outcome(
    definition: Definition[R], saga: Saga[R], step: Step[R], pending: PendingStep, received: EventReceived
) -> Saga[R]:
    assert pending.part is not None
    undo, cause = step.undo[pending.part], Cause(received.event_id, received.at)
    match received.event:
        case CommandRejected(message=reason, code=code):
            return fail_undo(definition, saga, pending, Failure(code=code, reason=reason, cause=cause))
        case event if isinstance(event, (undo.done, CommandRepeated)):
            return finish_undo(definition, saga, pending, cause, event)
        case event if isinstance(event, undo.failed):
            return fail_undo(definition, saga, pending, Failure(code="", reason=_reason_of(event), cause=cause))
        case _:
            return saga


def _reason_of(event: Event) -> str:
    return str(getattr(event, "reason", type(event).__name__))


def _with_left_over_of_child(saga: Saga[R], pending: PendingStep, event: Event) -> Saga[R]:
    """Adds the steps that a child saga could not undo to the left-over steps of its parent."""
    if not isinstance(event, protocol.SagaFailed | protocol.SagaNotUndone):
        return saga
    steps = ", ".join(left.step for left in event.left_over)
    left = protocol.LeftOver(step=pending.step, reason=f"saga {event.saga_id} could not undo {steps}"[:_MAX_REASON])
    return replace(saga, left_over=(*saga.left_over, left))


def _extend_for_prompt(definition: Definition[R], saga: Saga[R], prompt: PromptRaised) -> Saga[R]:
    """Extends the deadline of a step whose service waits for a person, to the end of the prompt and a timeout more.

    The deadline of the saga moves by as much, so that the later steps keep their time.
    """
    pending = next((each for each in saga.pending if str(each.command_id) == prompt.command_id), None)
    if pending is None:
        return saga
    deadline = max(pending.deadline, prompt.deadline + definition.timeout_of(pending))
    extension = deadline - pending.deadline
    if not extension:
        return saga
    saga = saga.with_pending(pending, replace(pending, deadline=deadline))
    return replace(saga, deadline=saga.deadline + extension)


# -- timers ----------------------------------------------------------------------------------------------------------


def _on_timer(definition: Definition[R], saga: Saga[R], fired: TimerFired) -> Saga[R]:
    if saga.due_at is None or fired.at < saga.due_at:
        return saga  # nothing is due yet: `advance` sets the timer again
    cause = Cause(fired.timer_id, fired.at)
    if saga.expires_at is not None and fired.at >= saga.expires_at:
        reason = f"the saga did not finish within {definition.timeout.total_seconds():g} s"
        failure = Failure(code="timeout", reason=reason, cause=cause)
        return compensate(definition, saga, failure, failed=definition.step(saga.pending[0].step))
    pending = next(each for each in saga.pending if each.due_at is not None and each.due_at <= fired.at)
    if pending.asleep:
        return finish_step(definition, saga, pending, cause)
    timeout = definition.timeout_of(pending)
    if pending.people is not None:
        signals = f"{count_signals(saga, pending)} of {pending.people.needed} sent signal {pending.people.signal!r}"
        failure = Failure(code="timeout", reason=f"{signals} within {timeout}", cause=cause)
        return fail_step(definition, saga, pending, failure)
    if pending.send_at is not None:
        return saga.with_pending(pending, replace(pending, send_at=None, deadline=fired.at + timeout)).changed(fired.at)
    reason = f"no outcome within {timeout.total_seconds():g} s"
    if pending.part is not None:
        return fail_undo(definition, saga, pending, Failure(code="", reason=reason, cause=cause))
    failure = Failure(code="timeout", reason=f"{reason}: the outcome of the command is unknown", cause=cause)
    step = definition.step(pending.step)
    if not saga.past_pivot:
        return compensate(definition, saga, failure, failed=step)
    assert isinstance(step, Step)
    retried = pending.next_attempt(step.retry, fired.timer_id, fired.at, timeout)
    return saga.with_pending(pending, retried).changed(fired.at) if retried else mark_stuck(saga, pending, failure)


# -- signals ---------------------------------------------------------------------------------------------------------


def _on_signal(definition: Definition[R], saga: Saga[R], received: SignalReceived) -> Saga[R]:
    """Counts the signal, announces it, and finishes the step with the last one that it needs."""
    pending = _step_awaiting(saga, received)
    if pending is None or pending.people is None or reply_to_signal(saga, received) is not None:
        return saga
    if any(signal.command_id == received.command_id for signal in saga.signals):
        return saga
    signal = Signal(
        step=pending.step,
        signal=received.signal,
        actor=received.actor,
        message_sha256=received.message_sha256,
        command_id=received.command_id,
        at=received.at,
    )
    saga = replace(saga, signals=(*saga.signals, signal), changed_at=received.at)
    count = count_signals(saga, pending)
    signalled = protocol.SagaSignalled(
        **saga.heading,
        step=pending.step,
        signal=received.signal,
        actor=received.actor,
        heard=count,
        needed=pending.people.needed,
        comment=received.comment,
    )
    saga = saga.with_announcement(signalled, received.command_id)
    if count < pending.people.needed:
        return saga
    return finish_step(definition, saga, pending, Cause(saga.announcements[-1].event_id, received.at))


def _step_awaiting(saga: Saga[R], received: SignalReceived) -> PendingStep | None:
    """Returns the pending step that awaits the signal: one with the same hash before one with another."""
    awaiting = [each for each in saga.pending if each.people is not None and each.people.signal == received.signal]
    same_hash = (each for each in awaiting if each.people and each.people.message_sha256 == received.message_sha256)
    return next(same_hash, awaiting[0] if awaiting else None)


def count_signals(saga: Saga[R], pending: PendingStep) -> int:
    return sum(signal.step == pending.step for signal in saga.signals)


def reply_to_signal(saga: Saga[R], received: SignalReceived) -> Rejection | AlreadyDone | None:
    """Returns the reply to a signal that does not count; None if it counts, or was counted when it first arrived."""
    if any(signal.command_id == received.command_id for signal in saga.signals):
        return None
    pending = _step_awaiting(saga, received)
    if pending is None or pending.people is None:
        key = (received.signal, received.actor, received.message_sha256)
        if any((signal.signal, signal.actor, signal.message_sha256) == key for signal in saga.signals):
            return AlreadyDone()
        awaited = " and ".join(repr(each.people.signal) for each in saga.pending if each.people) or "no signal"
        problem = f"the saga does not wait for signal {received.signal!r}: it is {saga.phase} and waits for {awaited}"
        return Rejection(RejectionCode.CONFLICT, problem)
    if received.message_sha256 != (digest := pending.people.message_sha256):
        right = (
            f"must be {digest}, the hash of the bytes to approve"
            if digest
            else "must be left out: this step has no bytes to approve"
        )
        return Rejection(RejectionCode.INVALID, f"message_sha256 {right}", details={"message_sha256": digest})
    actors = (signal.actor.casefold() for signal in saga.signals if signal.step == pending.step)
    return AlreadyDone() if received.actor.casefold() in actors else None


# -- operator commands -----------------------------------------------------------------------------------------------


def _on_operator_command(definition: Definition[R], saga: Saga[R], received: OperatorCommandReceived) -> Saga[R]:
    if received.command_id in saga.operator_command_ids:
        return saga
    after = _apply(definition, saga, received)
    if not isinstance(after, Saga):
        return saga
    command_ids = (*after.operator_command_ids, received.command_id)[-_MAX_OPERATOR_COMMAND_IDS:]
    return replace(after, operator_command_ids=command_ids)


def reply_to_operator(
    definition: Definition[R], saga: Saga[R], received: OperatorCommandReceived
) -> Rejection | AlreadyDone | None:
    """Returns the reply to a command that changed nothing; None if it was applied, and so announced."""
    if received.command_id in saga.operator_command_ids:
        return None
    after = _apply(definition, saga, received)
    return AlreadyDone() if isinstance(after, Saga) else after


def _apply(
    definition: Definition[R], saga: Saga[R], received: OperatorCommandReceived
) -> Saga[R] | Rejection | AlreadyDone:
    cause = Cause(received.command_id, received.at)
    match received.command:
        case protocol.CancelSaga() | protocol.WithdrawSaga() as command:
            return _cancel_or_withdraw(definition, saga, command, cause)
        case protocol.PauseSaga(reason=reason):
            return _pause(saga, reason, cause)
        case protocol.ResumeSaga():
            return _resume(definition, saga, cause)
        case protocol.RetrySaga(reason=reason):
            return _retry(definition, saga, reason, cause)
        case protocol.ResolveSaga(outcome="undone") as command:
            return _resolve_undo(definition, saga, command, cause)
        case protocol.ResolveSaga() as command:
            return _resolve_step(definition, saga, command, cause)
        case _:
            assert_never(received.command)


def _cancel_or_withdraw(
    definition: Definition[R], saga: Saga[R], command: protocol.CancelSaga | protocol.WithdrawSaga, cause: Cause
) -> Saga[R] | Rejection | AlreadyDone:
    withdraw = isinstance(command, protocol.WithdrawSaga)
    failure = Failure(code="withdrawn" if withdraw else "cancelled", reason=command.reason, cause=cause)
    if saga.past_pivot and saga.phase in (Phase.RUNNING, Phase.COMPLETED):
        return _conflict(saga, "it is past its pivot and can only go forward")
    cancelled = replace(_unpaused(saga, cause.at).changed(cause.at), cancelled_by=cause.message_id)
    match saga.phase:
        case Phase.RUNNING:
            return compensate(definition, cancelled, failure, failed=None)
        case Phase.COMPENSATING if withdraw:
            return replace(saga, cancelled_by=cause.message_id)
        case Phase.COMPLETED if withdraw:
            return roll_back(definition, cancelled, failure)
        case Phase.COMPENSATED if withdraw:
            return AlreadyDone()
        case Phase.FAILED if withdraw:
            return _conflict(saga, "it has failed already, and what it left over needs a person: retry or resolve")
        case _:
            return _conflict(saga, f"it is {saga.phase} and cannot be cancelled any more")


def _pause(saga: Saga[R], reason: str, cause: Cause) -> Saga[R] | Rejection | AlreadyDone:
    if saga.is_finished:
        return _conflict(saga, f"it is {saga.phase}: there is nothing to pause")
    if saga.paused_at is not None:
        return AlreadyDone()
    saga = saga.with_announcement(protocol.SagaPaused(**saga.heading, reason=reason), cause.message_id)
    return replace(saga, paused_at=cause.at).changed(cause.at)


def _resume(definition: Definition[R], saga: Saga[R], cause: Cause) -> Saga[R] | Rejection | AlreadyDone:
    if saga.paused_at is None:
        return AlreadyDone() if not saga.is_finished else _conflict(saga, f"it is {saga.phase} and was not paused")
    paused_seconds = max((cause.at - saga.paused_at).total_seconds(), 0.0)
    saga = _unpaused(saga, cause.at)
    saga = saga.with_announcement(protocol.SagaResumed(**saga.heading, paused_seconds=paused_seconds), cause.message_id)
    if saga.phase is Phase.RUNNING:
        return begin_next_steps(definition, saga, cause)
    return saga.changed(cause.at) if saga.pending else undo_next(definition, saga, cause)


def _unpaused(saga: Saga[R], at: datetime) -> Saga[R]:
    """Postpones every pending step by the length of the pause, except a sleep until a certain time."""
    if saga.paused_at is None:
        return saga
    pause = max(at - saga.paused_at, timedelta())
    postponed = tuple(each if each.asleep else each.postponed(pause) for each in saga.pending)
    return replace(saga, paused_at=None, pending=postponed)


def _retry(definition: Definition[R], saga: Saga[R], reason: str, cause: Cause) -> Saga[R] | Rejection:
    if saga.phase is Phase.FAILED:
        retried = protocol.SagaRetried(**saga.heading, steps=tuple(left.step for left in saga.left_over), reason=reason)
        return repair(definition, saga.with_announcement(retried, cause.message_id), cause)
    waiting = tuple(each for each in saga.pending if each.stuck is not None or each.send_at is not None)
    if not waiting:
        return _conflict(saga, f"it is {saga.phase} and no step of it waits for an operator or for its next attempt")
    if saga.paused_at is not None:
        return _conflict(saga, "it is paused: resume it first")
    retried = protocol.SagaRetried(**saga.heading, steps=tuple(each.step for each in waiting), reason=reason)
    saga = saga.with_announcement(retried, cause.message_id)
    for pending in waiting:
        again = pending.restarted(cause.message_id, cause.at, definition.timeout_of(pending))
        saga = saga.with_pending(pending, again)
    return saga.changed(cause.at)


def _resolve_undo(
    definition: Definition[R], saga: Saga[R], command: protocol.ResolveSaga, cause: Cause
) -> Saga[R] | Rejection:
    """Removes a step from what is left over: a person states that it is undone."""
    left_over = tuple(left for left in saga.left_over if left.step != command.step)
    if saga.phase is not Phase.FAILED or left_over == saga.left_over:
        names = ", ".join(left.step for left in saga.left_over) or "nothing"
        return _conflict(saga, f"it is {saga.phase}; the steps that could not be undone: {names}")
    saga = saga.with_announcement(_resolved(saga, command), cause.message_id)
    undone = saga.undone if command.step in saga.undone else (*saga.undone, command.step)
    resolved = (*saga.resolved, command.step)
    saga = replace(saga, left_over=left_over, undone=undone, resolved=resolved, undo_mode=UndoMode.REPAIR)
    return (saga if left_over else end_undoing(definition, saga, cause)).changed(cause.at)


def _resolve_step(
    definition: Definition[R], saga: Saga[R], command: protocol.ResolveSaga, cause: Cause
) -> Saga[R] | Rejection:
    """Finishes a stuck step with the outcome that a person states."""
    pending = next((each for each in saga.pending if each.stuck is not None and each.step == command.step), None)
    if pending is None:
        names = ", ".join(each.step for each in saga.pending if each.stuck is not None) or "none"
        return _conflict(saga, f"it is {saga.phase}; the steps that are stuck: {names}")
    step = definition.step(command.step)
    assert isinstance(step, Step)
    saga = saga.with_announcement(_resolved(saga, command), cause.message_id)
    event = None
    if command.answer is not None:
        try:
            event = step.done.model_validate_json(to_json(command.answer))
        except ValidationError as error:
            fields = "; ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False)[:5])
            return Rejection(RejectionCode.INVALID, f"answer is no {step.done.__name__}: {fields}")
    elif not step.already_done_ok:
        need = f"step {step.name} ends with a {step.done.__name__}, which later steps may use: give its body as answer"
        return Rejection(RejectionCode.INVALID, need)
    return finish_step(definition, saga, pending, cause, event)


def _resolved(saga: Saga[R], command: protocol.ResolveSaga) -> protocol.SagaResolved:
    return protocol.SagaResolved(
        **saga.heading, step=command.step, outcome=command.outcome, reason=command.reason, answer=command.answer
    )


def _conflict(saga: Saga[R], problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem, details=summary_of(saga))


def summary_of(saga: Saga[R]) -> dict[str, JsonValue]:
    """Returns the details of a rejection: how far the saga is, and what it waits for."""
    waits_for: list[JsonValue] = [pending.label for pending in saga.pending]
    return {
        "saga_type": saga.saga_type,
        "phase": str(saga.phase),
        "waits_for": waits_for[0] if len(waits_for) == 1 else waits_for or None,
        "sequence": saga.sequence,
    }
