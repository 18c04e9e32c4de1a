"""Rebuild of a saga's state from the log: its announcements and the outcomes of its commands, applied again.

Pure. Timers, operator commands and signals are in no log: the announcement that each led to, and the cause that it
names, determine them.
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
from services.saga.core.replay import LoggedEvent
from services.saga.core.state import Origin, PendingAnnouncement, Saga
from shared.contracts.base import Event
from shared.contracts.saga.protocol import Announcement, SagaStarted

_MAX_TRIES = 10_000


class NotRebuildable(Exception):
    """The log is incomplete, or the definition does not lead to what it holds; the message says which."""


def rebuild(definition: AnyDefinition, origin: Origin, log: Sequence[LoggedEvent]) -> Saga[Any]:
    """Rebuilds a saga from all events that concern it, its own announcements among them, in the order of the log.

    Raises NotRebuildable.
    """
    own = sorted((each for each in log if _is_own(each, log)), key=_sequence)
    saga = _begin(definition, origin, own)
    positions = {each.event_id: number for number, each in enumerate(log)}
    outcomes = {each.event_id: each for each in log if each not in own}
    causes = {each.cause for each in own}
    silent = tuple(each for each in outcomes.values() if each.event_id not in causes)
    found = _Search(definition, tuple(own), outcomes, positions).search(_Partial(saga, silent), 0)
    saga = found.saga
    for each in found.silent:
        after = replay.apply_outcome(definition, saga, each)
        unpublished = saga.announcements if after is not saga else ()
        saga = replace(after, announcements=(*unpublished, *_new(after, unpublished)))
    return _with_published_announcements(saga, own)


@dataclass(frozen=True, slots=True)
class _Partial:
    """A partly rebuilt saga, and the outcomes without an announcement that are not applied yet."""

    saga: Saga[Any]
    silent: tuple[LoggedEvent, ...]


@dataclass(slots=True)
class _Search:
    """Depth-first search for the inputs that lead to the announcements of the log.

    *own*: the announcements, in order. *outcomes*: by event id. *positions*: of each event in the log.
    """

    definition: AnyDefinition
    own: tuple[LoggedEvent, ...]
    outcomes: dict[UUID, LoggedEvent]
    positions: dict[UUID, int]
    tries: int = 0

    def search(self, partial: _Partial, number: int) -> _Partial:
        """Continues with announcement *number*. Raises NotRebuildable.

        An outcome without an announcement was received some time after it was stored. It was received late if it would
        have led to another announcement at once. The search tries the earliest time first.
        """
        while number < len(self.own) and _sequence(self.own[number]) < partial.saga.sequence:
            number += 1  # announced by the same transition as the one before
        if number == len(self.own):
            return partial
        announcement = self.own[number]
        position = self.positions[announcement.event_id]
        stored_before = [each for each in partial.silent if self.positions[each.event_id] < position]
        name = f"{_sequence(announcement)} ({type(announcement.event).__name__})"
        problem = NotRebuildable(f"nothing in the log leads to its announcement {name}")
        for outcomes in self._received_before(announcement, stored_before):
            self.tries += 1
            before = replay.apply_silent_outcomes(self.definition, partial.saga, outcomes)
            cause = self.outcomes.get(announcement.cause)
            after = replay.apply_cause_of(self.definition, before.saga, announcement, cause)
            if not self._agrees(after, announcement) or self.tries > _MAX_TRIES:
                continue
            try:
                silent = tuple(each for each in partial.silent if each not in before.applied)
                return self.search(_Partial(after, silent), number + 1)
            except NotRebuildable as deeper:
                problem = deeper
        raise problem

    def _received_before(self, announcement: LoggedEvent, outcomes: list[LoggedEvent]) -> Iterator[list[LoggedEvent]]:
        """Yields which outcomes may have been received by then: all, fewer, or none of the steps left over."""
        yield from (outcomes[:count] for count in range(len(outcomes), -1, -1))
        left_over = {f"undo.{left.step}" for left in getattr(announcement.event, "left_over", ())}
        if any(each.step in left_over for each in outcomes):
            yield [each for each in outcomes if each.step not in left_over]

    def _agrees(self, saga: Saga[Any], announcement: LoggedEvent) -> bool:
        """True if the saga makes *announcement*, and no other than those in the log."""
        published = {_sequence(each): each.event for each in self.own}
        made = {getattr(each.event, "sequence", -1): each.event for each in saga.announcements}
        return _sequence(announcement) in made and all(
            _essence(event) == _essence(published[sequence])
            for sequence, event in made.items()
            if sequence in published
        )


def differences(stored: Saga[Any], rebuilt: Saga[Any]) -> Iterator[str]:
    """Yields the differences that change how the saga continues. Times are not compared: no log has those of timers."""
    for name, in_store, in_log in zip(_COMPARED, _compared(stored), _compared(rebuilt), strict=True):
        if in_store != in_log:
            yield f"{name} is {in_store} in KEYS_SAGAS, and {in_log} by the log"


_COMPARED = ("phase", "finished", "answered", "undone", "left over", "announcements", "waits for", "signals", "origin")


def _compared(saga: Saga[Any]) -> tuple[object, ...]:
    return (
        str(saga.phase),
        sorted(saga.finished_steps),
        [(each.step, type(each.event).__name__) for each in saga.outcomes if not each.step.startswith("undo.")],
        list(saga.undone),
        sorted({left.step for left in saga.left_over}),
        saga.sequence,
        sorted(pending.label for pending in saga.pending),
        [(signal.step, signal.actor) for signal in saga.signals],
        (str(saga.origin.command_id), saga.origin.actor),
    )


def _begin(definition: AnyDefinition, origin: Origin, own: Sequence[LoggedEvent]) -> Saga[Any]:
    started = own[0].event if own else None
    if not isinstance(started, SagaStarted):
        raise NotRebuildable("the log does not have its beginning")
    if started.request is None or started.began_at is None:
        raise NotRebuildable("it began under a version before 0.3.0, whose log does not hold the start command")
    try:
        request = definition.request.model_validate_json(to_json(started.request))
    except ValidationError as error:
        raise NotRebuildable(f"its request is no {definition.request.__name__}") from error
    return machine.begin(definition, request, origin, started.began_at)


def _essence(event: Event) -> tuple[object, ...]:
    """Returns what must be the same in both announcements: type, step, what is undone and what is left over."""
    left_over = getattr(event, "left_over", ())
    return (
        type(event),
        getattr(event, "step", None),
        getattr(event, "undone", ()),
        tuple(dict.fromkeys(left.step for left in left_over)),
    )


def _with_published_announcements(saga: Saga[Any], own: Sequence[LoggedEvent]) -> Saga[Any]:
    """Replaces pending announcements by the published ones, so that publishing them again is deduplicated."""
    published = {_sequence(each): PendingAnnouncement(each.cause, each.event) for each in own}
    return replace(
        saga,
        announcements=tuple(published.get(getattr(each.event, "sequence", -1), each) for each in saga.announcements),
    )


def _new(after: Saga[Any], unpublished: Iterable[PendingAnnouncement]) -> tuple[PendingAnnouncement, ...]:
    return tuple(each for each in after.announcements if each not in unpublished)


def _is_own(each: LoggedEvent, log: Sequence[LoggedEvent]) -> bool:
    """True for an announcement of the saga whose log this is; false for the end of a child."""
    first = next((logged.event for logged in log if isinstance(logged.event, SagaStarted)), None)
    return isinstance(each.event, Announcement) and first is not None and each.event.identity == first.identity


def _sequence(announcement: LoggedEvent) -> int:
    assert isinstance(announcement.event, Announcement)
    return announcement.event.sequence
