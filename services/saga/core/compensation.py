"""How a saga turns back: what was done, or may have been, is undone newest first, and what cannot be undone is told.

Pure, like the engine whose other half it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from services.saga.core.definition import Definition
from services.saga.core.pending_command import Question
from services.saga.core.state import Phase, Saga, Turn, Undoing
from services.saga.core.steps import Asked
from shared.contracts.base import Event
from shared.contracts.saga.protocol import (
    LeftOver,
    SagaCompensated,
    SagaCompensating,
    SagaFailed,
    SagaNotUndone,
    SagaUndone,
    SagaWithdrawing,
    StartSaga,
)

R = TypeVar("R", bound=StartSaga)


@dataclass(frozen=True, slots=True)
class Because:
    """Why a saga turns back: the message that made it, and when."""

    code: str
    reason: str
    cause: UUID
    at: datetime


def compensate(
    definition: Definition[R], saga: Saga[R], why: Because, failed: Asked[R] | None, known: Question | None = None
) -> Saga[R]:
    """Undo what was done, newest first; what is asked and not answered may have been done, so it is undone too.

    *known*: what is pending of which it is known that nothing was done.
    """
    unknown = [definition.step(each.step) for each in saga.questions if each.asked and each is not known]
    to_undo = _to_undo(definition, saga, unknown)
    compensating = SagaCompensating(
        **saga.heading,
        step=failed.name if failed else None,
        code=why.code,
        reason=why.reason[:256],
        steps_to_undo=steps_of(to_undo),
    )
    saga = replace(
        saga,
        phase=Phase.COMPENSATING,
        reason=f"{why.code}: {why.reason}"[:256],
        to_undo=to_undo,
        questions=(),
    )
    return undo_next(definition, saga.announcing(compensating, why.cause), why.cause, why.at)


def withdraw(definition: Definition[R], saga: Saga[R], why: Because) -> Saga[R]:
    """Undo a saga that was complete."""
    to_undo = _to_undo(definition, saga, ())
    withdrawing = SagaWithdrawing(**saga.heading, reason=why.reason[:256], steps_to_undo=steps_of(to_undo))
    saga = replace(
        saga, phase=Phase.COMPENSATING, turn=Turn.WITHDRAWAL, to_undo=to_undo, reason=f"{why.code}: {why.reason}"[:256]
    )
    return undo_next(definition, saga.announcing(withdrawing, why.cause), why.cause, why.at)


def repair(definition: Definition[R], saga: Saga[R], why: Because) -> Saga[R]:
    """Try once more to undo what is left over."""
    names = dict.fromkeys(left.step for left in saga.left_over if left.step not in saga.undone)
    to_undo = tuple(Undoing(name, part) for name in names for part in range(len(definition.step(name).undo)))
    saga = replace(
        saga,
        phase=Phase.COMPENSATING,
        turn=Turn.REPAIR,
        to_undo=to_undo,
        left_over=(),
    )
    return undo_next(definition, saga, why.cause, why.at)


def undo_next(definition: Definition[R], saga: Saga[R], cause: UUID, at: datetime) -> Saga[R]:
    if saga.paused_at is not None:
        return saga.now(at)
    if saga.to_undo:
        first, rest = saga.to_undo[0], saga.to_undo[1:]
        step = definition.step(first.step)
        if step.keep is not None and (why := step.keep(saga)) is not None:
            return undo_next(definition, _left_over(saga, first.step, why), cause, at)
        undo = step.undo[first.part]
        asked = Question(first.step, first.part, 1, cause, at + undo.within, patient=undo.patient)
        return replace(saga, to_undo=rest, questions=(asked,)).now(at)
    return ended(definition, saga, cause).now(at)


def ended(definition: Definition[R], saga: Saga[R], cause: UUID) -> Saga[R]:
    """All is tried: say how it ended."""
    undone = (name for name in saga.undone if name not in saga.resolved)
    lost = ((name, step.lost(saga)) for name in undone if (step := definition.step(name)).lost)
    left_over = (*saga.left_over, *(LeftOver(step=name, reason=what) for name, what in lost if what))
    phase = Phase.FAILED if left_over else Phase.COMPENSATED
    saga = saga.announcing(_ending(saga, left_over), cause)
    return replace(saga, phase=phase, questions=(), left_over=left_over)


def undo_refused(definition: Definition[R], saga: Saga[R], question: Question, why: Because) -> Saga[R]:
    """Try an undo again; one that cannot be made is left over, and does not stop the others."""
    assert question.part is not None
    undo = definition.step(question.step).undo[question.part]
    again = question.again(undo.retry, why.cause, why.at, undo.within)
    if again is not None:
        return saga.with_question(question, again)
    reason = f"{why.code}: {why.reason}" if why.code else why.reason
    saga = replace(_left_over(saga, question.step, reason), questions=())
    return undo_next(definition, saga, why.cause, why.at)


def _left_over(saga: Saga[R], step: str, reason: str) -> Saga[R]:
    """With what is still to be undone of *step* given up, and said."""
    other_steps = tuple(undoing for undoing in saga.to_undo if undoing.step != step)
    return replace(saga, left_over=(*saga.left_over, LeftOver(step=step, reason=reason[:256])), to_undo=other_steps)


def undone(saga: Saga[R], step: Asked[R]) -> Saga[R]:
    """Count the step as undone once its last part is."""
    saga = replace(saga, questions=())
    if any(undoing.step == step.name for undoing in saga.to_undo):
        return saga
    return replace(saga, undone=(*saga.undone, step.name))


def steps_of(to_undo: Iterable[Undoing]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(undoing.step for undoing in to_undo))


def _to_undo(definition: Definition[R], saga: Saga[R], unknown: Iterable[Asked[R]]) -> tuple[Undoing, ...]:
    done = [definition.step(answered.step) for answered in saga.answers]
    newest_first = [*unknown, *done[::-1]]
    return tuple(Undoing(step.name, part) for step in newest_first for part in range(len(step.undo)))


def _ending(saga: Saga[R], left_over: tuple[LeftOver, ...]) -> Event:
    ending: dict[str, Any] = {**saga.heading, "reason": saga.reason, "undone": saga.undone}
    first = saga.turn is Turn.COMPENSATION
    if left_over:
        return (SagaFailed if first else SagaNotUndone)(**ending, left_over=left_over)
    return (SagaCompensated if first else SagaUndone)(**ending)
