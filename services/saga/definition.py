"""What a saga is made of: a table of steps. Data and small pure functions; the engine gives them their meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.saga.steps import Await, Each, Node, Parallel, Retry, Sleep, Step, Undo, child, flat
from shared.contracts.base import Event
from shared.contracts.saga import StartSaga

if TYPE_CHECKING:
    from services.saga.state import Saga

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


@dataclass(frozen=True, slots=True)
class Definition(Generic[R]):
    """A saga: a new one is a module of its own and a name in `services.saga.definitions`.

    *forward*: there is no way back from the first step on: what cannot be done waits for a person (as after a pivot).
    """

    saga_type: str
    request: type[R]
    steps: tuple[Node[R], ...]
    completed: Callable[[Saga[R]], Event]
    version: int = 1
    within: timedelta = timedelta(seconds=300)
    triggers: tuple[Trigger[Any], ...] = ()
    forward: bool = False

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
