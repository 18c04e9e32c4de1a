"""How a saga turns back: what was done, or may have been, is undone newest first, and what cannot be undone is told.

Pure, like the engine whose other half it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from services.saga.definition import Await, Definition, Step
from services.saga.state import Phase, Question, Saga, Undoing
from shared.contracts.saga import LeftOver, SagaCompensated, SagaCompensating, SagaFailed, StartSaga

R = TypeVar("R", bound=StartSaga)


@dataclass(frozen=True, slots=True)
class Because:
    """Why a saga turns back: the message that made it, and when."""

    code: str
    reason: str
    cause: UUID
    at: datetime


def compensate(
    definition: Definition[R],
    saga: Saga[R],
    why: Because,
    failed: Step[R] | Await[R] | None,
    unknown: Step[R] | Await[R] | None = None,
) -> Saga[R]:
    """Undo what was done, newest first; a step whose outcome is *unknown* may have been done, so it is undone too."""
    done = [definition.step(answered.step) for answered in saga.answers]
    newest_first = ([unknown] if unknown else []) + done[::-1]
    to_undo = tuple(Undoing(step.name, part) for step in newest_first for part in range(len(step.undo)))
    compensating = SagaCompensating(
        **saga.heading,
        step=failed.name if failed else None,
        code=why.code,
        reason=why.reason[:256],
        steps_to_undo=tuple(dict.fromkeys(undoing.step for undoing in to_undo)),
    )
    saga = replace(
        saga,
        phase=Phase.COMPENSATING,
        reason=f"{why.code}: {why.reason}"[:256],
        to_undo=to_undo,
        question=None,
    )
    return undo_next(definition, saga.announcing(compensating, why.cause), why.cause, why.at)


def undo_next(definition: Definition[R], saga: Saga[R], cause: UUID, at: datetime) -> Saga[R]:
    if saga.to_undo:
        first, rest = saga.to_undo[0], saga.to_undo[1:]
        deadline = at + definition.step(first.step).undo[first.part].within
        asked = Question(first.step, first.part, 1, cause, deadline)
        return replace(saga, to_undo=rest, question=asked, changed_at=at)
    ending: dict[str, Any] = {"reason": saga.reason, "undone": saga.undone}
    lost = ((name, step.lost(saga)) for name in saga.undone if (step := definition.step(name)).lost)
    left_over = (*saga.left_over, *(LeftOver(step=name, reason=what) for name, what in lost if what))
    if left_over:
        saga = saga.announcing(SagaFailed(**saga.heading, **ending, left_over=left_over), cause)
        saga = replace(saga, left_over=left_over)
        return replace(saga, phase=Phase.FAILED, question=None, changed_at=at)
    saga = saga.announcing(SagaCompensated(**saga.heading, **ending), cause)
    return replace(saga, phase=Phase.COMPENSATED, question=None, changed_at=at)


def undo_refused(definition: Definition[R], saga: Saga[R], reason: str, cause: UUID, at: datetime) -> Saga[R]:
    """Try an undo again; one that cannot be made is left over, and does not stop the others."""
    pending = saga.question
    assert pending is not None
    assert pending.part is not None
    undo = definition.step(pending.step).undo[pending.part]
    again = pending.again(undo.retry, cause, at, undo.within)
    if again is not None:
        return replace(saga, question=again)
    left = LeftOver(step=pending.step, reason=reason[:256])
    same_step = tuple(undoing for undoing in saga.to_undo if undoing.step != pending.step)
    return undo_next(definition, replace(saga, left_over=(*saga.left_over, left), to_undo=same_step), cause, at)


def undone(saga: Saga[R], step: Step[R] | Await[R]) -> Saga[R]:
    """Count the step as undone once its last part is."""
    if any(undoing.step == step.name for undoing in saga.to_undo):
        return saga
    return replace(saga, undone=(*saga.undone, step.name))
