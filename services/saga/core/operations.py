"""What an operator may do to a saga beside signalling: cancel, withdraw, pause, resume, retry, resolve.

Pure, like the engine. Each is one announcement; what cannot be done is refused with where the saga stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar, assert_never
from uuid import UUID

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from services.saga.core.compensation import Because, compensate, ended, repair, undo_next, withdraw
from services.saga.core.definition import Definition, Step
from services.saga.core.pending_command import Question
from services.saga.core.progress import finish, go_on
from services.saga.core.state import Answered, Phase, Saga, Turn
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import (
    CancelSaga,
    PauseSaga,
    ResolveSaga,
    ResumeSaga,
    RetrySaga,
    SagaPaused,
    SagaResolved,
    SagaResumed,
    SagaRetried,
    StartSaga,
    WithdrawSaga,
)
from shared.decider import AlreadyDone, Rejection

R = TypeVar("R", bound=StartSaga)
_REMEMBERED = 16
OperatorCommand = CancelSaga | WithdrawSaga | PauseSaga | ResumeSaga | RetrySaga | ResolveSaga


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator's command, as the coordinator was given it."""

    command_id: UUID
    command: OperatorCommand
    at: datetime


def obey(definition: Definition[R], saga: Saga[R], order: Ordered) -> Saga[R] | Rejection | AlreadyDone:
    """The saga after the order, or why not."""
    outcome = _obey(definition, saga, order)
    if isinstance(outcome, Saga):
        return replace(outcome, orders=(*outcome.orders, order.command_id)[-_REMEMBERED:])
    return outcome


def answer_to(definition: Definition[R], saga: Saga[R], order: Ordered) -> Rejection | AlreadyDone | None:
    """What an operator is answered whose order changed nothing; None: it did, and the saga has announced it."""
    if order.command_id in saga.orders:
        return None
    outcome = _obey(definition, saga, order)
    return AlreadyDone() if isinstance(outcome, Saga) else outcome


def _obey(definition: Definition[R], saga: Saga[R], order: Ordered) -> Saga[R] | Rejection | AlreadyDone:
    match order.command:
        case CancelSaga() | WithdrawSaga() as command:
            return _turn_back(definition, saga, command, order)
        case PauseSaga(reason=reason):
            return _pause(saga, reason, order)
        case ResumeSaga():
            return _resume(definition, saga, order)
        case RetrySaga(reason=reason):
            return _retry(definition, saga, reason, order)
        case ResolveSaga() as command:
            return _resolve(definition, saga, command, order)
        case _:
            assert_never(order.command)


def _turn_back(
    definition: Definition[R], saga: Saga[R], command: CancelSaga | WithdrawSaga, order: Ordered
) -> Saga[R] | Rejection | AlreadyDone:
    withdrawing = isinstance(command, WithdrawSaga)
    why = Because("withdrawn" if withdrawing else "cancelled", command.reason, order.command_id, order.at)
    if saga.past_pivot and saga.phase in (Phase.RUNNING, Phase.COMPLETED):
        return _refused(saga, "it has passed the point from which there is no way back")
    by = replace(_unpaused(saga, order.at).now(order.at), cancelled_by=order.command_id)
    match saga.phase:
        case Phase.RUNNING:
            return compensate(definition, by, why, None)
        case Phase.COMPENSATING if withdrawing:
            return replace(saga, cancelled_by=order.command_id)
        case Phase.COMPLETED if withdrawing:
            return withdraw(definition, by, why)
        case Phase.COMPENSATED if withdrawing:
            return AlreadyDone()
        case Phase.FAILED if withdrawing:
            return _refused(saga, "it has failed already, and what it left over needs a person: retry or resolve")
        case _:
            return _refused(saga, f"it is {saga.phase} and cannot be cancelled any more")


def _pause(saga: Saga[R], reason: str, order: Ordered) -> Saga[R] | Rejection | AlreadyDone:
    if saga.over:
        return _refused(saga, f"it is {saga.phase}: there is nothing to pause")
    if saga.paused_at is not None:
        return AlreadyDone()
    saga = saga.announcing(SagaPaused(**saga.heading, reason=reason), order.command_id)
    return replace(saga, paused_at=order.at).now(order.at)


def _resume(definition: Definition[R], saga: Saga[R], order: Ordered) -> Saga[R] | Rejection | AlreadyDone:
    if saga.paused_at is None:
        return AlreadyDone() if not saga.over else _refused(saga, f"it is {saga.phase} and was not paused")
    for_long = max((order.at - saga.paused_at).total_seconds(), 0.0)
    saga = _unpaused(saga, order.at)
    saga = saga.announcing(SagaResumed(**saga.heading, paused_seconds=for_long), order.command_id)
    if saga.phase is Phase.RUNNING:
        return go_on(definition, saga, order.command_id, order.at)
    return saga.now(order.at) if saga.questions else undo_next(definition, saga, order.command_id, order.at)


def _unpaused(saga: Saga[R], at: datetime) -> Saga[R]:
    """With what is due moved by as long as it was paused; who is asleep till a certain time is not."""
    if saga.paused_at is None:
        return saga
    by = max(at - saga.paused_at, timedelta())
    moved = tuple(each if each.asleep else each.later(by) for each in saga.questions)
    return replace(saga, paused_at=None, questions=moved)


def _retry(definition: Definition[R], saga: Saga[R], reason: str, order: Ordered) -> Saga[R] | Rejection:
    waiting = tuple(each for each in saga.questions if each.stuck is not None or each.send_at is not None)
    if saga.phase is Phase.FAILED:
        retried = SagaRetried(**saga.heading, steps=tuple(left.step for left in saga.left_over), reason=reason)
        why = Because("retry", reason, order.command_id, order.at)
        return repair(definition, saga.announcing(retried, order.command_id), why)
    if not waiting:
        return _refused(saga, f"it is {saga.phase} and nothing of it waits to be asked again")
    if saga.paused_at is not None:
        return _refused(saga, "it is paused: resume it first")
    retried = SagaRetried(**saga.heading, steps=tuple(each.step for each in waiting), reason=reason)
    saga = saga.announcing(retried, order.command_id)
    for question in waiting:
        again = question.once_more(order.command_id, order.at, _within(definition, question))
        saga = saga.with_question(question, again)
    return saga.now(order.at)


def _resolve(definition: Definition[R], saga: Saga[R], command: ResolveSaga, order: Ordered) -> Saga[R] | Rejection:
    resolved = SagaResolved(
        **saga.heading, step=command.step, outcome=command.outcome, reason=command.reason, answer=command.answer
    )
    if command.outcome == "undone":
        left = tuple(each for each in saga.left_over if each.step != command.step)
        if saga.phase is not Phase.FAILED or left == saga.left_over:
            names = ", ".join(each.step for each in saga.left_over) or "nothing"
            return _refused(saga, f"it is {saga.phase}; what could not be undone is {names}")
        saga = saga.announcing(resolved, order.command_id)
        undone = saga.undone if command.step in saga.undone else (*saga.undone, command.step)
        saga = replace(saga, left_over=left, undone=undone, resolved=(*saga.resolved, command.step), turn=Turn.REPAIR)
        return saga.now(order.at) if left else ended(definition, saga, order.command_id).now(order.at)
    stuck = next((each for each in saga.questions if each.stuck is not None and each.step == command.step), None)
    if stuck is None:
        names = ", ".join(each.step for each in saga.questions if each.stuck is not None) or "none"
        return _refused(saga, f"it is {saga.phase}; the steps that are stuck: {names}")
    step = definition.step(command.step)
    assert isinstance(step, Step)
    saga = saga.announcing(resolved, order.command_id)
    if command.answer is not None:
        try:
            answer = step.done.model_validate_json(to_json(command.answer))
        except ValidationError as error:
            where = "; ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False)[:5])
            return Rejection(RejectionCode.INVALID, f"answer is no {step.done.__name__}: {where}")
        saga = replace(saga, answers=(*saga.answers, Answered(step.name, answer)))
    elif not step.may_stand:
        need = f"step {step.name} is answered by a {step.done.__name__}, on which later steps may rest: give its body"
        return Rejection(RejectionCode.INVALID, f"{need} as answer")
    return finish(definition, saga, stuck, order.command_id, order.at)


def _within(definition: Definition[R], question: Question) -> timedelta:
    step = definition.step(question.step)
    return step.within if question.part is None else step.undo[question.part].within


def _refused(saga: Saga[R], problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem, where(saga))


def where(saga: Saga[R]) -> dict[str, JsonValue]:
    """Where a saga stands, for whoever is refused."""
    waiting: list[JsonValue] = [question.label for question in saga.questions]
    return {
        "saga_type": saga.saga_type,
        "phase": str(saga.phase),
        "waits_for": waiting[0] if len(waiting) == 1 else waiting or None,
        "sequence": saga.sequence,
    }
