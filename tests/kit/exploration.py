"""Exploration of a saga: every path with a fault at every point, or a random walk if there are too many.

Faults of services: a rejection, retryable or final; an event that fails the step; a late or lost command or answer.
Faults of people: a cancellation; a withdrawal after completion; an approval that does not come. In every state a crash
and a redelivered answer are tried, too: they must change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import strategies as st

from services.saga import store
from services.saga.core.definition import AnyDefinition
from services.saga.core.state import Phase
from shared.contracts.saga.protocol import CancelSaga, RetrySaga, StartSaga, WithdrawSaga
from tests.kit.invariants import Broken, check_end, check_state
from tests.kit.moment import Fields, Moment, Outcome

MAX_STATES = 20_000
MAX_REJECTIONS = 3
PEOPLE = ("ada", "bob", "cyd", "dan", "eve")


@dataclass(frozen=True, slots=True)
class Move:
    """One move that may happen next; *fault*: whether it counts as a fault."""

    make: Callable[[Moment], Moment]
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Explored:
    """Result of an exploration; *ends*: the number of different final states by phase."""

    states: int
    ends: Counter[str]


def explore(
    definition: AnyDefinition, request: StartSaga, *, faults: int = 2, answers: Fields | None = None
) -> Explored:
    """Explores every order of answers, with at most *faults* faults on each path.

    Raises Broken with the story of the first path that breaks an invariant; OverflowError if there are too many states:
    use `wander` then.
    """
    begun = Moment.begin(definition, request, answers)
    seen: set[object] = set()
    ends: Counter[str] = Counter()
    paths = [(begun, faults)]
    while paths:
        moment, left = paths.pop()
        if (key := _key(moment, left)) in seen:
            continue
        seen.add(key)
        if len(seen) > MAX_STATES:
            raise OverflowError(f"{definition.saga_type} has more than {MAX_STATES} states: fewer faults, or wander")
        check_state(moment)
        if _is_finished(moment):
            check_end(moment)
            ends[str(moment.saga.phase)] += 1
        next_moves = list(moves(moment))
        if not next_moves and not moment.saga.is_finished:
            raise Broken("it waits for ever", moment)
        paths += [(move.make(moment), left - move.fault) for move in next_moves if left or not move.fault]
    return Explored(len(seen), ends)


def wander(
    data: st.DataObject,
    definition: AnyDefinition,
    request: StartSaga,
    *,
    faults: int = 6,
    answers: Fields | None = None,
) -> Moment:
    """Walks along one path that hypothesis draws. Raises Broken like `explore`."""
    moment, left = Moment.begin(definition, request, answers), faults
    while True:
        check_state(moment)
        found = [move for move in moves(moment) if left or not move.fault]
        if _is_finished(moment):
            check_end(moment)
            found = [move for move in found if move.fault]
            if not found or not data.draw(st.booleans()):
                return moment
        if not found:
            raise Broken("it waits for ever", moment)
        move = data.draw(st.sampled_from(found))
        moment, left = move.make(moment), left - move.fault


def moves(moment: Moment) -> Iterator[Move]:
    """Yields the moves that may happen next.

    A late message is a fault at the moment when a timer fires before it. Rejecting a command again is free: three
    rejections count as one fault.
    """
    for sent in moment.waiting:
        yield Move(partial(Moment.delivered, sent=sent))
        for outcome in moment.outcomes(sent) if sent.attempt <= MAX_REJECTIONS else ():
            yield Move(
                partial(Moment.delivered, sent=sent, outcome=outcome),
                fault=outcome is not Outcome.ALREADY_DONE and sent.attempt == 1,
            )
    for command_id in moment.unreceived:
        yield Move(partial(Moment.received, command_id=command_id))
    yield from _people_moves(moment)
    yield from _operator_moves(moment)
    if moment.saga.timer_at is not None and not moment.saga.is_finished:
        in_flight = moment.waiting or moment.unreceived or any(each.people for each in moment.saga.pending)
        yield Move(Moment.with_timer_fired, fault=bool(in_flight))


def _people_moves(moment: Moment) -> Iterator[Move]:
    for pending in moment.saga.pending:
        if pending.people is not None:
            actors = {each.actor for each in moment.saga.signals if each.step == pending.step}
            actor = next(each for each in PEOPLE if each not in actors)
            yield Move(partial(Moment.signalled, actor=actor, signal=pending.people.signal))


def _operator_moves(moment: Moment) -> Iterator[Move]:
    saga_id = moment.saga.saga_id
    if any(each.stuck for each in moment.saga.pending):
        yield Move(partial(Moment.with_operator_command, command=RetrySaga(saga_id=saga_id)))
    elif moment.saga.phase is Phase.RUNNING and not moment.saga.past_pivot:
        yield Move(partial(Moment.with_operator_command, command=CancelSaga(saga_id=saga_id)), fault=True)
    elif moment.saga.phase is Phase.COMPLETED and not moment.definition.forward_only:
        yield Move(partial(Moment.with_operator_command, command=WithdrawSaga(saga_id=saga_id)), fault=True)


def _is_finished(moment: Moment) -> bool:
    return moment.saga.is_finished and not moment.waiting and not moment.unreceived


def _key(moment: Moment, left: int) -> object:
    effects: Any = tuple(sorted(moment.effects.items()))
    waiting = tuple(sent.command_id for sent in moment.waiting)
    return store.encode_entry(moment.saga), moment.now, waiting, moment.unreceived, effects, left
