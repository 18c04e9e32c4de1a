"""Definition of a saga: a table of steps with small pure functions, which the state machine interprets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Generic, TypeVar

from services.saga.core.retry import Retry
from services.saga.core.state import PendingStep, Saga
from services.saga.core.steps import Await, Each, Parallel, Row, Sleep, Step, Undo, child, flatten
from shared.contracts.base import Command, Event
from shared.contracts.saga.protocol import Completed, StartSaga

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
    """An event that starts a saga.

    *start*: builds the start command with the given saga id; None: not for this event. The saga id is derived from the
    event id and from the name of *start*, so a redelivered event starts nothing twice. *at*: the start time; without
    one, or if it has passed, the saga starts at once. *group_by*: an id; all events about it that are stored within one
    second start one saga. It starts shortly after that second, so that its first command sees them all.
    """

    event_type: type[E]
    start: Callable[[E, str], StartSaga | None]
    _: KW_ONLY
    at: Callable[[E], datetime | None] | None = None
    group_by: Callable[[E], str | None] | None = None

    @property
    def name(self) -> str:
        return self.start.__name__


def plain_completion(saga: Saga[Any]) -> Completed:
    return Completed(**saga.heading)


@dataclass(frozen=True, slots=True)
class Definition(Generic[R]):
    """A saga type: its start command, its steps and its last event.

    *completed*: builds the event that ends a saga; its return annotation names the type. *forward_only*: the saga is
    past its pivot from the start: a step that fails waits for an operator.
    """

    saga_type: str
    request: type[R]
    steps: tuple[Row[R], ...]
    _: KW_ONLY
    completed: Callable[[Saga[R]], Completed] = plain_completion
    version: int = 1
    timeout: timedelta = timedelta(seconds=300)
    triggers: tuple[Trigger[Any], ...] = ()
    forward_only: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a table that could not work, when its module is imported."""
        if self.saga_type != (expected := self.request.saga_type()):
            raise ValueError(f"{self.request.__name__} starts a {expected}, not a {self.saga_type}")
        names = [step.name for step in flatten(self.steps)]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"{self.saga_type} has more than one step {', '.join(duplicates)}: give each its own name (name=…)"
            )

    @property
    def completion_type(self) -> type[Completed]:
        """The type of the event that `completed` builds, by its return annotation."""
        annotation = self.completed.__annotations__.get("return", Completed)
        event_type: type[Completed] = (
            self.completed.__globals__[annotation] if isinstance(annotation, str) else annotation
        )
        return event_type

    @property
    def event_types(self) -> dict[str, type[Event]]:
        """The events that end this saga and its steps, by name; also those that are in no published contract."""
        steps = [step for step in flatten(self.steps) if isinstance(step, Step)]
        types = {self.completion_type, *chain.from_iterable(map(_outcomes_of, steps))}
        return {event_type.__name__: event_type for event_type in types}

    def step(self, name: str) -> Step[R] | Await[R] | Sleep[R]:
        """Returns the step of that name, or of that name and item. Raises LookupError."""
        for step in flatten(self.steps):
            if step.name == name:
                return step
        per_item = [each.step for each in _each_rows(self.steps) if name.startswith(f"{each.step.name}-")]
        if not per_item:
            raise LookupError(f"{self.saga_type} has no step {name}")
        step = max(per_item, key=lambda each: len(each.name))  # `revoke-key-1` belongs to `revoke-key`, not to `revoke`
        return step.for_item(name[len(step.name) + 1 :])

    def command_of(self, saga: Saga[R], pending: PendingStep) -> Command:
        """Builds the command of a pending step that awaits a service."""
        step = self.step(pending.step)
        if pending.part is not None:
            return step.undo[pending.part].command(saga)
        assert isinstance(step, Step)
        return step.command(saga)

    def timeout_of(self, pending: PendingStep) -> timedelta:
        step = self.step(pending.step)
        return step.timeout if pending.part is None else step.undo[pending.part].timeout


def _outcomes_of(step: Step[Any]) -> Iterator[type[Event]]:
    yield step.done
    for types in (step.failed, *(undo.done for undo in step.undo), *(undo.failed for undo in step.undo)):
        yield from types if isinstance(types, tuple) else (types,) if types else ()


def _each_rows(rows: Sequence[Row[R]]) -> Iterator[Each[R]]:
    for row in rows:
        match row:
            case Each():
                yield row
            case Parallel(branches=branches):
                for branch in branches:
                    yield from _each_rows(branch)
            case _:
                pass


AnyDefinition = Definition[Any]
