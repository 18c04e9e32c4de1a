"""Every path of a saga with a fault at every point, or a long walk through them where they are too many.

A fault is: refused, for now or for good; failed; answered so late that its time is over, or never; arrived so late; an
operator who cancels it, or withdraws it when it is complete; people who do not come. A crash, before and after each
write and each publish, and an answer told twice are looked at in every state: they must change nothing.
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
from tests.kit.checking import Broken, at_any_moment, at_the_end
from tests.kit.played import Outcome, Played, Said

MOST_STATES = 20_000
MOST_REFUSALS = 3
PEOPLE = ("ada", "bob", "cyd", "dan", "eve")


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that may happen next; *fault*: that it should not."""

    make: Callable[[Played], Played]
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Explored:
    """*ends*: how many different ends there are of each kind."""

    states: int
    ends: Counter[str]


def explore(definition: AnyDefinition, request: StartSaga, *, faults: int = 2, answers: Said | None = None) -> Explored:
    """Every order in which answers may come, with at most so many *faults* on each path. Raises Broken with the story
    of the first path that ends as none may; OverflowError where there are too many, and `wander` is the way."""
    begun = Played.begin(definition, request, answers)
    seen: set[object] = set()
    ends: Counter[str] = Counter()
    paths = [(begun, faults)]
    while paths:
        played, left = paths.pop()
        if (key := _key(played, left)) in seen:
            continue
        seen.add(key)
        if len(seen) > MOST_STATES:
            raise OverflowError(f"{definition.saga_type} has more than {MOST_STATES} states: fewer faults, or wander")
        at_any_moment(played)
        if _is_over(played):
            at_the_end(played)
            ends[str(played.saga.phase)] += 1
        found = list(moves(played))
        if not found and not played.saga.is_finished:
            raise Broken("it stands still for ever", played)
        paths += [(move.make(played), left - move.fault) for move in found if left or not move.fault]
    return Explored(len(seen), ends)


def wander(
    data: st.DataObject, definition: AnyDefinition, request: StartSaga, *, faults: int = 6, answers: Said | None = None
) -> Played:
    """One path out of all, as hypothesis draws it. Raises Broken like `explore`."""
    played, left = Played.begin(definition, request, answers), faults
    while True:
        at_any_moment(played)
        found = [move for move in moves(played) if left or not move.fault]
        if _is_over(played):
            at_the_end(played)
            found = [move for move in found if move.fault]
            if not found or not data.draw(st.booleans()):
                return played
        if not found:
            raise Broken("it stands still for ever", played)
        move = data.draw(st.sampled_from(found))
        played, left = move.make(played), left - move.fault


def moves(played: Played) -> Iterator[Move]:
    """What may happen next. That something arrives or is heard late is a fault when time goes on without it; that what
    was refused is refused again is none: what is refused three times costs one."""
    for sent in played.waiting:
        yield Move(partial(Played.delivered, sent=sent))
        for outcome in played.outcomes(sent) if sent.attempt <= MOST_REFUSALS else ():
            yield Move(
                partial(Played.delivered, sent=sent, outcome=outcome),
                fault=outcome is not Outcome.STANDS and sent.attempt == 1,
            )
    for command_id in played.unheard:
        yield Move(partial(Played.hearing, command_id=command_id))
    yield from _of_people(played)
    yield from _of_operators(played)
    if played.saga.timer_at is not None and not played.saga.is_finished:
        under_way = played.waiting or played.unheard or any(each.people for each in played.saga.pending)
        yield Move(Played.later, fault=bool(under_way))


def _of_people(played: Played) -> Iterator[Move]:
    for pending in played.saga.pending:
        if pending.people is not None:
            heard = {said.actor for said in played.saga.signals if said.step == pending.step}
            actor = next(each for each in PEOPLE if each not in heard)
            yield Move(partial(Played.saying, actor=actor, signal=pending.people.signal))


def _of_operators(played: Played) -> Iterator[Move]:
    saga_id = played.saga.saga_id
    if any(each.stuck for each in played.saga.pending):
        yield Move(partial(Played.ordered, command=RetrySaga(saga_id=saga_id)))
    elif played.saga.phase is Phase.RUNNING and not played.saga.past_pivot:
        yield Move(partial(Played.ordered, command=CancelSaga(saga_id=saga_id)), fault=True)
    elif played.saga.phase is Phase.COMPLETED and not played.definition.forward_only:
        yield Move(partial(Played.ordered, command=WithdrawSaga(saga_id=saga_id)), fault=True)


def _is_over(played: Played) -> bool:
    return played.saga.is_finished and not played.waiting and not played.unheard


def _key(played: Played, left: int) -> object:
    effects: Any = tuple(sorted(played.effects.items()))
    waiting = tuple(sent.command_id for sent in played.waiting)
    return store.encode_entry(played.saga), played.now, waiting, played.unheard, effects, left
