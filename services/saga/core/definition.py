"""What a saga is made of: a table of steps. Data and small pure functions; the engine gives them their meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.saga.core.steps import Await, Each, Node, Parallel, Retry, Sleep, Step, Undo, child, flat
from shared.contracts.base import Event
from shared.contracts.saga.protocol import CompletionAnnouncement, StartSaga

if TYPE_CHECKING:
    from services.saga.core.state import Saga

__all__ = [
    "AnyDefinition",
    "Await",
    "Definition",
    "Each",
    "Parallel",
    "Retry",
    "Sleep",
    "Step",
    "Trigger",
    "Undo",
    "child",
]

R = TypeVar("R", bound=StartSaga)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Trigger(Generic[E]):
    """An event that begins a saga: *start* makes its command with the id it is given; None: not this event.

    *at*: when; none, or a time that has passed: at once. The saga's id follows from the event's id and from the name of
    *start*, so an event that is heard again begins nothing new.

    *together*: the id of what such events are about; all that are stored about it within one second begin one saga, a
    little after that second. It sees them all: what it asks about, it asks when they are stored.
    """

    on: type[E]
    start: Callable[[E, str], StartSaga | None]
    at: Callable[[E], datetime | None] | None = None
    together: Callable[[E], str | None] | None = None

    @property
    def name(self) -> str:
        return self.start.__name__


def plainly(saga: Saga[Any]) -> CompletionAnnouncement:
    """That it is complete, and nothing more."""
    return CompletionAnnouncement(**saga.heading)


@dataclass(frozen=True, slots=True)
class Definition(Generic[R]):
    """A saga: a new one is a module of its own in `services.saga.definitions`.

    *request* is what begins it; *completed* what it says in the end, of a kind of its own if it has more to say.
    *forward*: there is no way back from the first step on: what cannot be done waits for a person (as after a pivot).
    """

    saga_type: str
    request: type[R]
    steps: tuple[Node[R], ...]
    completed: Callable[[Saga[R]], CompletionAnnouncement] = plainly
    version: int = 1
    within: timedelta = timedelta(seconds=300)
    triggers: tuple[Trigger[Any], ...] = ()
    forward: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for what could not work: it is found when the module is imported, not by a saga."""
        if self.saga_type != (meant := self.request.saga_type()):
            raise ValueError(f"{self.request.__name__} begins a {meant}, not a {self.saga_type}")
        names = [step.name for step in flat(self.steps)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.saga_type} has more than one step {', '.join(twice)}: give each a name (called=…)")

    @property
    def completion(self) -> type[CompletionAnnouncement]:
        """The kind of event that it says in the end: what `completed` says that it returns."""
        said = self.completed.__annotations__.get("return", CompletionAnnouncement)
        kind: type[CompletionAnnouncement] = self.completed.__globals__[said] if isinstance(said, str) else said
        return kind

    @property
    def words(self) -> dict[str, type[Event]]:
        """What it says and may be answered, by name: also what is in no contract, because nobody else need know it."""
        steps = [step for step in flat(self.steps) if isinstance(step, Step)]
        kinds = {self.completion, *chain.from_iterable(map(_answers, steps))}
        return {kind.__name__: kind for kind in kinds}

    def step(self, name: str) -> Step[R] | Await[R] | Sleep[R]:
        """The step of that name, or of that name and item. Raises LookupError."""
        for step in flat(self.steps):
            if step.name == name:
                return step
        of_items = [each.step for each in _eaches(self.steps) if name.startswith(f"{each.step.name}-")]
        if not of_items:
            raise LookupError(f"{self.saga_type} has no step {name}")
        step = max(of_items, key=lambda each: len(each.name))  # `revoke-key-1` is of `revoke-key`, not of `revoke`
        return step.about(name[len(step.name) + 1 :])


def _answers(step: Step[Any]) -> Iterator[type[Event]]:
    yield step.done
    for kinds in (step.failed, *(undo.done for undo in step.undo), *(undo.failed for undo in step.undo)):
        yield from kinds if isinstance(kinds, tuple) else (kinds,) if kinds else ()


def _eaches(nodes: Sequence[Node[R]]) -> Iterator[Each[R]]:
    for node in nodes:
        match node:
            case Each():
                yield node
            case Parallel(branches=branches):
                for branch in branches:
                    yield from _eaches(branch)
            case _:
                pass


AnyDefinition = Definition[Any]
