"""A saga's state from the log alone: what it announced, and what it was answered, played to the engine again.

Pure. What moved it and is not in the log (timers, orders, people) is told by the announcement that it led to, and by
what that names as its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json

from services.saga.core import machine, replay
from services.saga.core.definition import AnyDefinition
from services.saga.core.replay import Logged
from services.saga.core.state import Announced, Origin, Saga
from shared.contracts.base import Event
from shared.contracts.saga import protocol as said

_MOST_TRIES = 10_000


class NotRebuildable(Exception):
    """The log does not tell enough, or tells what the definition does not lead to; the message says what."""


def rebuild(definition: AnyDefinition, origin: Origin, log: Sequence[Logged]) -> Saga[Any]:
    """*log*: all that concerns one saga, in order; its own announcements among it. Raises NotRebuildable."""
    own = sorted((each for each in log if _is_own(each, log)), key=_sequence)
    saga = _begun(definition, origin, own)
    stored = {each.event_id: number for number, each in enumerate(log)}
    answers = {each.event_id: each for each in log if each not in own}
    causes = {each.cause for each in own}
    silent = tuple(each for each in answers.values() if each.event_id not in causes)
    saga, left = _Playing(definition, tuple(own), answers, stored).play(saga, 0, silent)
    for each in left:
        after = replay.heard(definition, saga, each)
        unsaid = saga.announcements if after is not saga else ()
        saga = replace(after, announcements=(*unsaid, *_new(after, unsaid)))
    return _as_told(saga, own)


@dataclass(slots=True)
class _Playing:
    """*own*: the announcements, in order; *answers* by their ids; *stored*: the place of each in the log."""

    definition: AnyDefinition
    own: tuple[Logged, ...]
    answers: dict[UUID, Logged]
    stored: dict[UUID, int]
    tries: int = 0

    def play(self, saga: Saga[Any], number: int, silent: tuple[Logged, ...]) -> tuple[Saga[Any], tuple[Logged, ...]]:
        """From announcement *number* on; returns the saga after the last, and which *silent* answers are left.

        An answer that led to no announcement was heard at some time after it was stored: at once, or later, where what
        it would have led to is not what was announced. The first is tried first. Raises NotRebuildable.
        """
        while number < len(self.own) and _sequence(self.own[number]) < saga.sequence:
            number += 1  # said together with the one before
        if number == len(self.own):
            return saga, silent
        told = self.own[number]
        by_then = [each for each in silent if self.stored[each.event_id] < self.stored[told.event_id]]
        what = f"{_sequence(told)} ({type(told.event).__name__})"
        problem = NotRebuildable(f"nothing in the log leads to its announcement {what}")
        for answers in self._heard_by(told, by_then):
            self.tries += 1
            before, heard = replay.in_silence(self.definition, saga, answers)
            after = replay.moved(self.definition, before, told, self.answers.get(told.cause))
            if not self._agrees(after, told) or self.tries > _MOST_TRIES:
                continue
            try:
                return self.play(after, number + 1, tuple(each for each in silent if each not in heard))
            except NotRebuildable as deeper:
                problem = deeper
        raise problem

    def _heard_by(self, told: Logged, answers: list[Logged]) -> Iterator[list[Logged]]:
        """Which of them may have been heard by then: all, fewer, or none of what was left over all the same."""
        yield from (answers[:count] for count in range(len(answers), -1, -1))
        left_over = {f"undo.{left.step}" for left in getattr(told.event, "left_over", ())}
        if any(each.step in left_over for each in answers):
            yield [each for each in answers if each.step not in left_over]

    def _agrees(self, saga: Saga[Any], told: Logged) -> bool:
        """Whether it says *told*, and nothing else than was said."""
        said_then = {_sequence(each): each.event for each in self.own}
        made = {getattr(each.event, "sequence", -1): each.event for each in saga.announcements}
        return _sequence(told) in made and all(
            _gist(event) == _gist(said_then[sequence]) for sequence, event in made.items() if sequence in said_then
        )


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
    return machine.begin(definition, request, origin, started.began_at)


def _gist(event: Event) -> tuple[object, ...]:
    """What an announcement says that must be the same: its kind, of which step, what is undone and what is left."""
    left_over = getattr(event, "left_over", ())
    return (
        type(event),
        getattr(event, "step", None),
        getattr(event, "undone", ()),
        tuple(dict.fromkeys(left.step for left in left_over)),
    )


def _as_told(saga: Saga[Any], own: Sequence[Logged]) -> Saga[Any]:
    """What is to be announced and was, word for word as it was: told again, it is recognised."""
    told = {_sequence(each): Announced(each.cause, each.event) for each in own}
    return replace(
        saga,
        announcements=tuple(told.get(getattr(each.event, "sequence", -1), each) for each in saga.announcements),
    )


def _new(after: Saga[Any], unsaid: Iterable[Announced]) -> tuple[Announced, ...]:
    return tuple(each for each in after.announcements if each not in unsaid)


def _is_own(each: Logged, log: Sequence[Logged]) -> bool:
    """Whether it is an announcement of the saga whose log this is, not the end of one that it began."""
    first = next((one.event for one in log if isinstance(one.event, said.SagaStarted)), None)
    return isinstance(each.event, said.Announcement) and first is not None and each.event.identity == first.identity


def _sequence(told: Logged) -> int:
    assert isinstance(told.event, said.Announcement)
    return told.event.sequence
