"""How a saga goes forward: which steps of its table are next, and how each begins.

What is next follows from the table and from the names of what is finished, so that there is no position to be lost.
Pure, like the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from services.saga.core.definition import Await, Definition, Each, Parallel, Sleep, Step
from services.saga.core.pending_command import Question
from services.saga.core.signals import wait
from services.saga.core.state import Phase, Saga
from services.saga.core.steps import Asked, Node
from shared.contracts.saga.protocol import SagaStepFinished, StartSaga

R = TypeVar("R", bound=StartSaga)


def go_on(definition: Definition[R], saga: Saga[R], cause: UUID, at: datetime) -> Saga[R]:
    """Begin what can begin; after the last step, it is complete. A paused saga begins nothing."""
    if saga.paused_at is not None:
        return saga.now(at)
    saga, through = _row(saga, definition.steps, cause, at)
    if not through:
        return saga.now(at)
    saga = saga.announcing(definition.completed(saga), cause)
    return replace(saga, phase=Phase.COMPLETED, questions=()).now(at)


def finish(definition: Definition[R], saga: Saga[R], question: Question, cause: UUID, at: datetime) -> Saga[R]:
    """What the step asked for is so: say it, and go on."""
    step = definition.step(question.step)
    saga = saga.with_question(question, None)
    saga = replace(saga, finished=(*saga.finished, step.name), past_pivot=saga.past_pivot or step.pivot)
    finished = SagaStepFinished(**saga.heading, step=step.name, attempts=question.attempt)
    return go_on(definition, saga.announcing(finished, cause), cause, at)


def _row(saga: Saga[R], nodes: Sequence[Node[R]], cause: UUID, at: datetime) -> tuple[Saga[R], bool]:
    """Begin the first of a row that is not finished; True: all of it is."""
    for node in nodes:
        match node:
            case Parallel() | Each():
                saga, through = _side_by_side(saga, node.rows(saga), cause, at)
                if not through:
                    return saga, False
            case Step() | Await() | Sleep():
                if node.name in saga.finished:
                    continue
                if any(question.step == node.name for question in saga.questions):
                    return saga, False
                if not node.wanted(saga):
                    saga = replace(saga, finished=(*saga.finished, node.name))
                    continue
                saga = _begin(saga, node, cause, at)
                if node.name not in saga.finished:
                    return saga, False
    return saga, True


def _side_by_side(saga: Saga[R], rows: Sequence[Sequence[Node[R]]], cause: UUID, at: datetime) -> tuple[Saga[R], bool]:
    through = True
    for row in rows:
        saga, this_one = _row(saga, row, cause, at)
        through = through and this_one
    return saga, through


def _begin(saga: Saga[R], step: Asked[R], cause: UUID, at: datetime) -> Saga[R]:
    match step:
        case Await():
            return wait(saga, step, cause, at)
        case Sleep():
            until = step.until(saga)
            wakes = at + until if isinstance(until, timedelta) else until
            if wakes is None or wakes <= at:
                return replace(saga, finished=(*saga.finished, step.name))
            question = Question(step.name, None, 1, cause, wakes, asleep=True, patient=True)
        case Step():
            question = Question(step.name, None, 1, cause, at + step.within, patient=step.patient)
    return replace(saga, questions=(*saga.questions, question))
