"""What becomes of a saga whose step was not done: it turns back, or where there is no way back waits for a person.

Pure, like the engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from services.saga.core.compensation import Because, compensate
from services.saga.core.definition import Definition
from services.saga.core.pending_command import Question
from services.saga.core.state import Saga
from shared.contracts.base import Event
from shared.contracts.saga.protocol import LeftOver, SagaFailed, SagaNotUndone, SagaStuck, StartSaga

R = TypeVar("R", bound=StartSaga)


def inheriting(saga: Saga[R], pending: Question, event: Event) -> Saga[R]:
    """What another saga left over is left over of the one that began it, too."""
    if not isinstance(event, SagaFailed | SagaNotUndone):
        return saga
    steps = ", ".join(left.step for left in event.left_over)
    left = LeftOver(step=pending.step, reason=f"saga {event.saga_id} could not undo {steps}"[:256])
    return replace(saga, left_over=(*saga.left_over, left))


def fail(definition: Definition[R], saga: Saga[R], why: Because, pending: Question) -> Saga[R]:
    """The step was not done: the saga turns back, or where there is no way back waits for a person."""
    if saga.past_pivot:
        return stuck(saga, why, pending)
    return compensate(definition, saga, why, definition.step(pending.step), known=pending)


def stuck(saga: Saga[R], why: Because, pending: Question) -> Saga[R]:
    reason = f"{why.code}: {why.reason}"[:256]
    saga = saga.with_question(pending, replace(pending, stuck=reason, send_at=None))
    told = SagaStuck(**saga.heading, step=pending.step, reason=reason)
    return saga.announcing(told, why.cause).now(why.at)
