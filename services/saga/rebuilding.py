"""A saga's state from the log alone: what it announced, and what it was answered, played to the engine again.

Pure. What moved it and is not in the log (timers, orders, people) is told by the announcement that it led to, and by
what that names as its cause.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json

from services.saga import engine
from services.saga.definition import AnyDefinition
from services.saga.engine import Due, Heard
from services.saga.operating import OperatorCommand, Ordered
from services.saga.state import Announced, Origin, Saga
from services.saga.waiting import Signalled
from shared.contracts import saga as said
from shared.contracts.base import Event

_MOST_TIMERS = 1000


class NotRebuildable(Exception):
    """The log does not tell enough, or tells what the definition does not lead to; the message says what."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An event that concerns a saga. *cause*: the command that it answers; of an announcement, what it names as its
    cause. *step*: for which step it was asked (`CIM-Saga-Step`)."""

    event_id: UUID
    cause: UUID
    event: Event
    at: datetime
    step: str = ""


def rebuild(definition: AnyDefinition, origin: Origin, log: Sequence[Logged]) -> Saga[Any]:
    """*log*: all that concerns one saga, in order; its own announcements among it. Raises NotRebuildable."""
    own = sorted((each for each in log if _is_own(each, log)), key=_sequence)
    saga = _begun(definition, origin, own)
    causes = {each.cause for each in own}
    answers = {each.event_id: each for each in log if each not in own}
    silent = deque(each for each in answers.values() if each.event_id not in causes)
    place = {each.event_id: number for number, each in enumerate(log)}
    for told in own:
        while silent and place[silent[0].event_id] < place[told.event_id]:
            saga = _in_silence(definition, saga, silent.popleft())
        if _sequence(told) >= saga.sequence:
            saga = _moved(definition, saga, told, answers.get(told.cause))
            _require_the_same(saga, told)
    for each in silent:
        after = _heard(definition, saga, each)
        unsaid = saga.announcements if after is not saga else ()
        saga = replace(after, announcements=(*unsaid, *_new(after, unsaid)))
    return saga


def differences(live: Saga[Any], rebuilt: Saga[Any]) -> Iterator[str]:
    """In what they would go on differently. Of times nothing is said: those of timers are in no log."""
    for name, one, other in zip(_COMPARED, _compared(live), _compared(rebuilt), strict=True):
        if one != other:
            yield f"{name} is {one} in KEYS_SAGAS, and {other} by the log"


_COMPARED = ("phase", "finished", "answered", "undone", "left over", "announcements", "waits for", "signals", "origin")


def _compared(saga: Saga[Any]) -> tuple[object, ...]:
    return (
        str(saga.phase),
        sorted(saga.finished),
        [(each.step, type(each.event).__name__) for each in saga.answers if not each.step.startswith("undo.")],
        list(saga.undone),
        sorted({left.step for left in saga.left_over}),
        saga.sequence,
        sorted(question.label for question in saga.questions),
        [(signal.step, signal.actor) for signal in saga.signals],
        (str(saga.origin.command_id), saga.origin.actor),
    )


def _begun(definition: AnyDefinition, origin: Origin, own: Sequence[Logged]) -> Saga[Any]:
    started = own[0].event if own else None
    if not isinstance(started, said.SagaStarted):
        raise NotRebuildable("the log does not have its beginning")
    if started.request is None or started.began_at is None:
        raise NotRebuildable("it began under a version before 0.3.0, which did not say in the log what was asked for")
    try:
        request = definition.request.model_validate_json(to_json(started.request))
    except ValidationError as error:
        raise NotRebuildable(f"its request is no {definition.request.__name__}") from error
    return engine.begin(definition, request, origin, started.began_at)


def _in_silence(definition: AnyDefinition, saga: Saga[Any], answer: Logged) -> Saga[Any]:
    """What was answered and led to no announcement. What would lead to one came too late, and changed nothing."""
    after = _heard(definition, saga, answer)
    return saga if after.sequence > saga.sequence else after


def _heard(definition: AnyDefinition, saga: Saga[Any], answer: Logged) -> Saga[Any]:
    heard = Heard(answer.event_id, answer.cause, answer.event, answer.at)
    after = engine.advance(definition, saga, heard)
    pending = next((each for each in saga.questions if each.label == answer.step), None)
    if after is not saga or pending is None:
        return after
    if pending.send_at is not None:  # its time had come by then
        again = engine.advance(definition, saga, Due(answer.event_id, pending.send_at))
        after = engine.advance(definition, again, heard)
        return saga if after is again else after
    if pending.part is not None or saga.past_pivot:
        # Asked again by a timer, whose id is in no log, it had another id: it is known by its step.
        return engine.advance(definition, saga, replace(heard, command_id=pending.command_id))
    return saga


def _moved(definition: AnyDefinition, saga: Saga[Any], told: Logged, cause: Logged | None) -> Saga[Any]:
    """The saga after what led to that announcement."""
    if cause is not None:
        after = _heard(definition, saga, cause)
        if after.sequence > saga.sequence:
            return after
    match told.event:
        case said.SagaSignalled() as signal:
            people = (each.people for each in saga.questions if each.people and each.step == signal.step)
            sha256 = next((each.message_sha256 for each in people), None)
            person = Signalled(told.cause, signal.signal, signal.actor, sha256, signal.comment, told.at)
            return engine.advance(definition, saga, person)
        case said.SagaRetried(saga_id=saga_id, reason=reason):
            waiting = _timed(definition, saga, told, _waits_for_an_attempt)
            return engine.advance(
                definition, waiting, Ordered(told.cause, said.RetrySaga(saga_id=saga_id, reason=reason), told.at)
            )
        case event if (order := _order(event)) is not None:
            return engine.advance(definition, saga, Ordered(told.cause, order, _ordered_at(saga, told)))
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
        saga = engine.advance(definition, saga, Due(told.cause, saga.due))
    return saga


def _waits_for_an_attempt(saga: Saga[Any]) -> bool:
    return saga.over or any(each.stuck is not None or each.send_at is not None for each in saga.questions)


def _require_the_same(saga: Saga[Any], told: Logged) -> None:
    sequence = _sequence(told)
    made = next((each.event for each in saga.announcements if getattr(each.event, "sequence", -1) == sequence), None)
    if type(made) is not type(told.event) or getattr(made, "step", None) != getattr(told.event, "step", None):
        what = type(told.event).__name__.removeprefix("Saga")
        raise NotRebuildable(f"nothing in the log leads to its announcement {sequence} ({what})")


def _new(after: Saga[Any], unsaid: Iterable[Announced]) -> tuple[Announced, ...]:
    return tuple(each for each in after.announcements if each not in unsaid)


def _is_own(each: Logged, log: Sequence[Logged]) -> bool:
    """Whether it is an announcement of the saga whose log this is, not the end of one that it began."""
    first = next((one.event for one in log if isinstance(one.event, said.SagaStarted)), None)
    return isinstance(each.event, said.Announcement) and first is not None and each.event.identity == first.identity


def _sequence(told: Logged) -> int:
    assert isinstance(told.event, said.Announcement)
    return told.event.sequence
