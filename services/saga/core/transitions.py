"""Transitions of the saga state machine: next steps, a finished or failed step, compensation, the end.

They are in the order in which a saga goes through them; `machine` decides which one an input leads to. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from services.saga.core.definition import Await, Definition, Each, Parallel, Sleep, Step
from services.saga.core.state import PendingStep, People, Phase, Saga, StepOutcome, UndoMode, UndoPart
from services.saga.core.steps import Row, SingleStep
from shared.contracts.base import Event
from shared.contracts.saga.protocol import (
    LeftOver,
    SagaCompensated,
    SagaCompensating,
    SagaFailed,
    SagaNotUndone,
    SagaStepFinished,
    SagaStuck,
    SagaUndone,
    SagaWaiting,
    SagaWithdrawing,
    StartSaga,
)

R = TypeVar("R", bound=StartSaga)
_MAX_REASON = 256


@dataclass(frozen=True, slots=True)
class Cause:
    """The message that caused a transition, and when it arrived."""

    message_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed, or why a saga undoes its steps."""

    code: str
    reason: str
    cause: Cause

    @property
    def text(self) -> str:
        return f"{self.code}: {self.reason}" if self.code else self.reason


# -- forward ---------------------------------------------------------------------------------------------------------


def begin_next_steps(definition: Definition[R], saga: Saga[R], cause: Cause) -> Saga[R]:
    """Begins every step that can begin; completes the saga after the last one. A paused saga begins nothing.

    The table and the names of the finished steps determine what is next: there is no position to store.
    """
    if saga.paused_at is not None:
        return saga.changed(cause.at)
    saga, all_finished = _begin_in_row(saga, definition.steps, cause)
    if not all_finished:
        return saga.changed(cause.at)
    saga = saga.with_announcement(definition.completed(saga), cause.message_id)
    return replace(saga, phase=Phase.COMPLETED, pending=()).changed(cause.at)


def _begin_in_row(saga: Saga[R], rows: Sequence[Row[R]], cause: Cause) -> tuple[Saga[R], bool]:
    """Begins the first step of a branch that is not finished; True if the whole branch is finished."""
    for row in rows:
        match row:
            case Parallel() | Each():
                all_finished = True
                for branch in row.branches_of(saga):
                    saga, finished = _begin_in_row(saga, branch, cause)
                    all_finished = all_finished and finished
                if not all_finished:
                    return saga, False
            case Step() | Await() | Sleep():
                if row.name in saga.finished_steps:
                    continue
                if any(pending.step == row.name for pending in saga.pending):
                    return saga, False
                if not row.is_needed(saga):
                    saga = replace(saga, finished_steps=(*saga.finished_steps, row.name))
                    continue
                saga = _begin_step(saga, row, cause)
                if row.name not in saga.finished_steps:
                    return saga, False
    return saga, True


def _begin_step(saga: Saga[R], step: SingleStep[R], cause: Cause) -> Saga[R]:
    people = None
    match step:
        case Step():
            deadline = cause.at + step.timeout
        case Await():
            deadline = cause.at + step.timeout
            saga, people = _await_people(saga, step, cause)
        case Sleep():
            until = step.until(saga)
            wakes_at = cause.at + until if isinstance(until, timedelta) else until
            if wakes_at is None or wakes_at <= cause.at:
                return replace(saga, finished_steps=(*saga.finished_steps, step.name))
            deadline = wakes_at
    pending = PendingStep(
        step=step.name,
        part=None,
        attempt=1,
        cause=cause.message_id,
        deadline=deadline,
        people=people,
        asleep=isinstance(step, Sleep),
        patient=step.patient,
    )
    return replace(saga, pending=(*saga.pending, pending))


def _await_people(saga: Saga[R], step: Await[R], cause: Cause) -> tuple[Saga[R], People]:
    people = People(
        signal=step.signal,
        needed=step.needed(saga),
        message_sha256=step.message_sha256(saga) if step.message_sha256 else None,
        since=cause.at,
    )
    waiting = SagaWaiting(
        **saga.heading,
        step=step.name,
        signal=people.signal,
        needed=people.needed,
        message_sha256=people.message_sha256,
        about=step.about(saga),
    )
    return saga.with_announcement(waiting, cause.message_id), people


def finish_step(
    definition: Definition[R], saga: Saga[R], pending: PendingStep, cause: Cause, event: Event | None = None
) -> Saga[R]:
    """Records *event* as the outcome of the step, announces that the step is done, and begins the next ones."""
    step = definition.step(pending.step)
    saga = replace(
        saga,
        pending=tuple(each for each in saga.pending if each is not pending),
        outcomes=saga.outcomes if event is None else (*saga.outcomes, StepOutcome(step.name, event)),
        finished_steps=(*saga.finished_steps, step.name),
        past_pivot=saga.past_pivot or step.pivot,
    )
    finished = SagaStepFinished(**saga.heading, step=step.name, attempts=pending.attempt)
    return begin_next_steps(definition, saga.with_announcement(finished, cause.message_id), cause)


def fail_step(definition: Definition[R], saga: Saga[R], pending: PendingStep, failure: Failure) -> Saga[R]:
    """Compensates the saga; past its pivot, makes the step wait for an operator. The step itself did nothing."""
    if saga.past_pivot:
        return mark_stuck(saga, pending, failure)
    return compensate(definition, saga, failure, failed=definition.step(pending.step), without_effect=pending)


def mark_stuck(saga: Saga[R], pending: PendingStep, failure: Failure) -> Saga[R]:
    reason = f"{failure.code}: {failure.reason}"[:_MAX_REASON]
    saga = saga.with_pending(pending, replace(pending, stuck=reason, send_at=None))
    stuck = SagaStuck(**saga.heading, step=pending.step, reason=reason)
    return saga.with_announcement(stuck, failure.cause.message_id).changed(failure.cause.at)


# -- compensation ----------------------------------------------------------------------------------------------------


def compensate(
    definition: Definition[R],
    saga: Saga[R],
    failure: Failure,
    *,
    failed: SingleStep[R] | None,
    without_effect: PendingStep | None = None,
) -> Saga[R]:
    """Undoes the finished steps, newest first; steps in flight may be done already, so they are undone too.

    *without_effect*: a pending step that its service rejected or failed, so that there is nothing to undo.
    """
    in_flight = [
        definition.step(pending.step)
        for pending in saga.pending
        if pending.awaits_service and pending is not without_effect
    ]
    to_undo = _parts_to_undo(definition, saga, in_flight)
    compensating = SagaCompensating(
        **saga.heading,
        step=failed.name if failed else None,
        code=failure.code,
        reason=failure.reason[:_MAX_REASON],
        steps_to_undo=_step_names(to_undo),
    )
    reason = f"{failure.code}: {failure.reason}"[:_MAX_REASON]
    saga = replace(saga, phase=Phase.COMPENSATING, reason=reason, to_undo=to_undo, pending=())
    saga = saga.with_announcement(compensating, failure.cause.message_id)
    return undo_next(definition, saga, failure.cause)


def roll_back(definition: Definition[R], saga: Saga[R], failure: Failure) -> Saga[R]:
    """Undoes a saga that has completed."""
    to_undo = _parts_to_undo(definition, saga, ())
    withdrawing = SagaWithdrawing(
        **saga.heading, reason=failure.reason[:_MAX_REASON], steps_to_undo=_step_names(to_undo)
    )
    reason = f"{failure.code}: {failure.reason}"[:_MAX_REASON]
    saga = replace(saga, phase=Phase.COMPENSATING, undo_mode=UndoMode.ROLLBACK, to_undo=to_undo, reason=reason)
    return undo_next(definition, saga.with_announcement(withdrawing, failure.cause.message_id), failure.cause)


def repair(definition: Definition[R], saga: Saga[R], cause: Cause) -> Saga[R]:
    """Tries once more to undo what is left over."""
    names = dict.fromkeys(left.step for left in saga.left_over if left.step not in saga.undone)
    to_undo = tuple(UndoPart(name, part) for name in names for part in range(len(definition.step(name).undo)))
    saga = replace(saga, phase=Phase.COMPENSATING, undo_mode=UndoMode.REPAIR, to_undo=to_undo, left_over=())
    return undo_next(definition, saga, cause)


def _parts_to_undo(
    definition: Definition[R], saga: Saga[R], in_flight: Iterable[SingleStep[R]]
) -> tuple[UndoPart, ...]:
    done = [definition.step(outcome.step) for outcome in saga.outcomes]
    newest_first = [*in_flight, *done[::-1]]
    return tuple(UndoPart(step.name, part) for step in newest_first for part in range(len(step.undo)))


def _step_names(to_undo: Iterable[UndoPart]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.step for part in to_undo))


def undo_next(definition: Definition[R], saga: Saga[R], cause: Cause) -> Saga[R]:
    """Begins the next undo; ends the saga after the last one. A paused saga begins nothing."""
    if saga.paused_at is not None:
        return saga.changed(cause.at)
    if not saga.to_undo:
        return end_undoing(definition, saga, cause).changed(cause.at)
    first, rest = saga.to_undo[0], saga.to_undo[1:]
    step = definition.step(first.step)
    if step.keep is not None and (reason := step.keep(saga)) is not None:
        return undo_next(definition, _leave_over(saga, first.step, reason), cause)
    undo = step.undo[first.part]
    pending = PendingStep(
        step=first.step,
        part=first.part,
        attempt=1,
        cause=cause.message_id,
        deadline=cause.at + undo.timeout,
        patient=undo.patient,
    )
    return replace(saga, to_undo=rest, pending=(pending,)).changed(cause.at)


def finish_undo(definition: Definition[R], saga: Saga[R], pending: PendingStep, cause: Cause, event: Event) -> Saga[R]:
    """Records *event* as the outcome of the undo, counts the step as undone after its last part, and goes on."""
    is_last_part = not any(part.step == pending.step for part in saga.to_undo)
    saga = replace(
        saga,
        pending=(),
        outcomes=(*saga.outcomes, StepOutcome(pending.label, event)),
        undone=(*saga.undone, pending.step) if is_last_part else saga.undone,
    )
    return undo_next(definition, saga, cause)


def fail_undo(definition: Definition[R], saga: Saga[R], pending: PendingStep, failure: Failure) -> Saga[R]:
    """Retries the undo; after the last attempt its step is left over, and the next undo begins."""
    assert pending.part is not None
    undo, cause = definition.step(pending.step).undo[pending.part], failure.cause
    retried = pending.next_attempt(undo.retry, cause.message_id, cause.at, undo.timeout)
    if retried is not None:
        return saga.with_pending(pending, retried)
    return undo_next(definition, replace(_leave_over(saga, pending.step, failure.text), pending=()), cause)


def _leave_over(saga: Saga[R], step: str, reason: str) -> Saga[R]:
    """Gives up the remaining undos of *step* and records why."""
    other_steps = tuple(part for part in saga.to_undo if part.step != step)
    left_over = (*saga.left_over, LeftOver(step=step, reason=reason[:_MAX_REASON]))
    return replace(saga, left_over=left_over, to_undo=other_steps)


# -- end -------------------------------------------------------------------------------------------------------------


def end_undoing(definition: Definition[R], saga: Saga[R], cause: Cause) -> Saga[R]:
    """Ends a saga of which every undo was tried: compensated if nothing is left over, failed otherwise."""
    undone = (name for name in saga.undone if name not in saga.resolved)
    lost = ((name, step.lost(saga)) for name in undone if (step := definition.step(name)).lost)
    left_over = (*saga.left_over, *(LeftOver(step=name, reason=reason) for name, reason in lost if reason))
    saga = saga.with_announcement(_last_announcement(saga, left_over), cause.message_id)
    return replace(saga, phase=Phase.FAILED if left_over else Phase.COMPENSATED, pending=(), left_over=left_over)


def _last_announcement(saga: Saga[R], left_over: tuple[LeftOver, ...]) -> Event:
    fields: dict[str, Any] = {**saga.heading, "reason": saga.reason, "undone": saga.undone}
    first_end = saga.undo_mode is UndoMode.COMPENSATION
    if left_over:
        return (SagaFailed if first_end else SagaNotUndone)(**fields, left_over=left_over)
    return (SagaCompensated if first_end else SagaUndone)(**fields)
