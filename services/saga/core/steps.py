"""The rows of a saga's table: what may be asked, awaited or slept through, one after another or side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from shared.contracts.base import Command, Event
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import (
    SagaCompensated,
    SagaFailed,
    SagaNotUndone,
    SagaUndone,
    StartSaga,
    WithdrawSaga,
)

if TYPE_CHECKING:
    from services.saga.core.state import Saga

R = TypeVar("R", bound=StartSaga)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon to ask again what was refused for a reason that may pass."""

    attempts: int = 3
    delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(seconds=60)
    never: frozenset[RejectionCode] = frozenset()

    def before(self, attempt: int) -> timedelta:
        """How long after this attempt the next one is made; as a logarithm first: after 50 doublings no timedelta
        holds what *longest* cuts off."""
        doublings = math.log(self.longest / self.delay) / math.log(self.factor) if self.factor > 1 else attempt
        return self.longest if attempt - 1 >= doublings else self.delay * self.factor ** (attempt - 1)


@dataclass(frozen=True, slots=True)
class Undo(Generic[R]):
    """How to take a step back, or one part of it. It may rest on nothing that the step's own answer said:
    a step whose answer never came is undone too."""

    ask: Callable[[Saga[R]], Command]
    done: type[Event] | tuple[type[Event], ...]
    within: timedelta = timedelta(seconds=30)
    retry: Retry = Retry()
    failed: tuple[type[Event], ...] = ()
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Step(Generic[R]):
    """One question to another service: what answers it, what fails it beside a rejection, how to take it back.

    *when*: whether this saga has the step at all; it is asked at the start too. *unless*: asked when its turn comes:
    whether what was answered till then has made it needless. *may_stand*: that it stands already is as good as done;
    nothing was done, so nothing of it is undone, and `find` finds no answer. *lost* says, once the step is undone,
    what of it nothing brings back; None: nothing. *keep* says, when it is to be undone, why it must be left as it is:
    a later step could not be undone, and rests on it; None: it is undone. *pivot*: once it is done there is only
    forward: what is not answered or refused later is asked again, and at last waits for a person. *patient*: the
    saga's own deadline stands still while it is asked.
    """

    ask: Callable[..., Command]
    done: type[Event]
    failed: type[Event] | tuple[type[Event], ...] | None = None
    undo: tuple[Undo[R], ...] = ()
    within: timedelta = timedelta(seconds=30)
    retry: Retry = Retry()
    when: Callable[[Saga[R]], bool] | None = None
    unless: Callable[[Saga[R]], bool] | None = None
    may_stand: bool = False
    lost: Callable[[Saga[R]], str | None] | None = None
    keep: Callable[[Saga[R]], str | None] | None = None
    pivot: bool = False
    patient: bool = False
    called: str = ""

    @property
    def name(self) -> str:
        return self.called or self.ask.__name__.replace("_", "-")

    def foreseen(self, saga: Saga[R]) -> bool:
        return self.when is None or self.when(saga)

    def wanted(self, saga: Saga[R]) -> bool:
        return self.foreseen(saga) and not (self.unless and self.unless(saga))

    def about(self, item: str) -> Step[R]:
        """This step for one *item* of an `Each`: all that is asked is asked about it."""
        undo = tuple(replace(each, ask=_about(each.ask, item)) for each in self.undo)
        return replace(self, ask=_about(self.ask, item), undo=undo, called=f"{self.name}-{item}")


def _about(ask: Callable[..., Command], item: str) -> Callable[[Saga[Any]], Command]:
    return partial(ask, item=item)


def child(
    start: Callable[..., StartSaga],
    done: type[Event],
    within: timedelta = timedelta(days=1),
    *,
    when: Callable[[Saga[Any]], bool] | None = None,
    unless: Callable[[Saga[Any]], bool] | None = None,
    keep: Callable[[Saga[Any]], str | None] | None = None,
) -> Step[Any]:
    """A step that begins another saga and is done when that is complete; it is undone by withdrawing the other saga.

    *start* gives it an id that follows from this saga's (`saga.id_of`).
    """

    def withdraw(saga: Saga[Any], **item: str) -> WithdrawSaga:
        return WithdrawSaga(saga_id=start(saga, **item).saga_id, reason="the saga that began it is undone")

    undone = (SagaUndone, SagaCompensated)
    undo: Undo[Any] = Undo(withdraw, undone, within, failed=(SagaNotUndone, SagaFailed), patient=True)
    failed = (SagaCompensated, SagaFailed, SagaUndone, SagaNotUndone)
    return Step(start, done, failed, (undo,), within, when=when, unless=unless, keep=keep, patient=True)


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
    keep: ClassVar[None] = None
    pivot: ClassVar[bool] = False
    patient: ClassVar[bool] = True

    def foreseen(self, saga: Saga[R]) -> bool:
        return self.needed(saga) > 0

    def wanted(self, saga: Saga[R]) -> bool:
        return self.foreseen(saga) and not (self.unless and self.unless(saga))


@dataclass(frozen=True, slots=True)
class Sleep(Generic[R]):
    """Let time pass, from a second to years: *until* says when to go on, asked when its turn comes. None: at once."""

    name: str
    until: Callable[[Saga[R]], datetime | timedelta | None]
    when: Callable[[Saga[R]], bool] | None = None
    undo: ClassVar[tuple[Undo[Any], ...]] = ()
    lost: ClassVar[None] = None
    keep: ClassVar[None] = None
    pivot: ClassVar[bool] = False
    patient: ClassVar[bool] = True
    within: ClassVar[timedelta] = timedelta.max

    def foreseen(self, saga: Saga[R]) -> bool:
        return self.when is None or self.when(saga)

    def wanted(self, saga: Saga[R]) -> bool:
        return self.foreseen(saga)


Asked: TypeAlias = Step[R] | Await[R] | Sleep[R]
"""What is waited for: an answer, people, or time."""


@dataclass(frozen=True, slots=True)
class Parallel(Generic[R]):
    """Several rows of steps side by side; what comes after waits for all of them. One that fails undoes all."""

    branches: tuple[tuple[Node[R], ...], ...]

    def __init__(self, *branches: tuple[Node[R], ...] | Node[R]) -> None:
        rows = tuple(each if isinstance(each, tuple) else (each,) for each in branches)
        object.__setattr__(self, "branches", rows)

    def rows(self, _: Saga[R]) -> tuple[tuple[Node[R], ...], ...]:
        return self.branches

    def every(self) -> Iterator[Step[R] | Await[R] | Sleep[R]]:
        for branch in self.branches:
            yield from flat(branch)


@dataclass(frozen=True, slots=True)
class Each(Generic[R]):
    """One *step* for each of *items*, side by side. *items*: short names (letters, digits, hyphens), which must follow
    from the request and from steps before this one. What the step asks takes `item`."""

    step: Step[R]
    items: Callable[[Saga[R]], Sequence[str]]

    def rows(self, saga: Saga[R]) -> tuple[tuple[Node[R], ...], ...]:
        return tuple((self.step.about(item),) for item in self.items(saga))


Node: TypeAlias = Step[R] | Await[R] | Sleep[R] | Parallel[R] | Each[R]


def flat(nodes: Sequence[Node[R]]) -> Iterator[Step[R] | Await[R] | Sleep[R]]:
    """All that may be waited for, in the order of the table; of an `Each`, its step without an item."""
    for node in nodes:
        match node:
            case Parallel():
                yield from node.every()
            case Each(step=step):
                yield step
            case _:
                yield node
