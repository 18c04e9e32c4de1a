"""What a saga is made of: a table of steps. Data and small pure functions; the engine gives them their meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from shared.contracts.base import Command, Event
from shared.contracts.command import RefusalCode
from shared.contracts.saga import StartSaga

if TYPE_CHECKING:
    from services.saga.state import Saga

R = TypeVar("R", bound=StartSaga)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon to ask again what was refused for a reason that may pass."""

    attempts: int = 3
    delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(seconds=60)
    never: frozenset[RefusalCode] = frozenset()


@dataclass(frozen=True, slots=True)
class Undo(Generic[R]):
    """How to take a step back, or one part of it. It may rest on nothing that the step's own answer said:
    a step whose answer never came is undone too."""

    ask: Callable[[Saga[R]], Command]
    done: type[Event]
    within: timedelta = timedelta(seconds=30)
    retry: Retry = Retry()


@dataclass(frozen=True, slots=True)
class Step(Generic[R]):
    """One question to another service: what answers it, what fails it beside a rejection, how to take it back.

    *when*: whether this saga has the step at all; it is asked at the start too. *unless*: asked when its turn comes:
    whether what was answered till then has made it needless. *may_stand*: that it stands already is as good as done;
    nothing was done, so nothing of it is undone, and `find` finds no answer. *lost* says, once the step is undone,
    what of it nothing brings back; None: nothing.
    """

    ask: Callable[[Saga[R]], Command]
    done: type[Event]
    failed: type[Event] | None = None
    undo: tuple[Undo[R], ...] = ()
    within: timedelta = timedelta(seconds=30)
    retry: Retry = Retry()
    when: Callable[[Saga[R]], bool] | None = None
    unless: Callable[[Saga[R]], bool] | None = None
    may_stand: bool = False
    lost: Callable[[Saga[R]], str | None] | None = None

    @property
    def name(self) -> str:
        return self.ask.__name__.replace("_", "-")

    def foreseen(self, saga: Saga[R]) -> bool:
        return self.when is None or self.when(saga)

    def wanted(self, saga: Saga[R]) -> bool:
        return self.foreseen(saga) and not (self.unless and self.unless(saga))


@dataclass(frozen=True, slots=True)
class Await(Generic[R]):
    """Wait until as many people as are *needed* have said *signal*, each once; none are needed: it is passed over.

    *about* tells them what they judge; *of* is the SHA-256 of it, where it is bytes: what they say is of that alone.
    """

    name: str
    signal: str
    needed: Callable[[Saga[R]], int]
    about: Callable[[Saga[R]], str]
    of: Callable[[Saga[R]], str | None] | None = None
    within: timedelta = timedelta(days=7)
    unless: Callable[[Saga[R]], bool] | None = None
    undo: ClassVar[tuple[Undo[Any], ...]] = ()
    lost: ClassVar[None] = None

    def foreseen(self, saga: Saga[R]) -> bool:
        return self.needed(saga) > 0

    def wanted(self, saga: Saga[R]) -> bool:
        return self.foreseen(saga) and not (self.unless and self.unless(saga))


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
    """A saga: a new one is a module of its own and a name in `services.saga.definitions`."""

    saga_type: str
    request: type[R]
    steps: tuple[Step[R] | Await[R], ...]
    completed: Callable[[Saga[R]], Event]
    version: int = 1
    within: timedelta = timedelta(seconds=300)
    triggers: tuple[Trigger[Any], ...] = ()

    def step(self, name: str) -> Step[R] | Await[R]:
        return next(step for step in self.steps if step.name == name)


AnyDefinition = Definition[Any]
