"""What a saga is made of: a table of steps. Data and small pure functions; the engine gives them their meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shared.contracts.base import Command, Event
from shared.contracts.command import RefusalCode
from shared.contracts.saga import StartSaga

if TYPE_CHECKING:
    from services.saga.state import Saga

R = TypeVar("R", bound=StartSaga)


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

    *lost* says, once the step is undone, what of it nothing brings back; None: nothing.
    """

    ask: Callable[[Saga[R]], Command]
    done: type[Event]
    failed: type[Event] | None = None
    undo: tuple[Undo[R], ...] = ()
    within: timedelta = timedelta(seconds=30)
    retry: Retry = Retry()
    when: Callable[[Saga[R]], bool] | None = None
    lost: Callable[[Saga[R]], str | None] | None = None

    @property
    def name(self) -> str:
        return self.ask.__name__.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Definition(Generic[R]):
    """A saga: a new one is a module of its own and a name in `services.saga.definitions`."""

    saga_type: str
    request: type[R]
    steps: tuple[Step[R], ...]
    completed: Callable[[Saga[R]], Event]
    version: int = 1
    within: timedelta = timedelta(seconds=300)

    def step(self, name: str) -> Step[R]:
        return next(step for step in self.steps if step.name == name)


AnyDefinition = Definition[Any]
