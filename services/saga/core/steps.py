"""Rows of a saga definition: a command to a service, an approval, a sleep, and rows that run side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from services.saga.core.retry import DEFAULT_RETRY, Retry
from services.saga.core.state import Saga
from shared.contracts.base import Command, Event
from shared.contracts.saga.protocol import (
    SagaCompensated,
    SagaFailed,
    SagaNotUndone,
    SagaUndone,
    StartSaga,
    WithdrawSaga,
)

R = TypeVar("R", bound=StartSaga)


@dataclass(frozen=True, slots=True)
class Undo(Generic[R]):
    """The command that undoes a step, or one part of it.

    The command function must not use the outcome of its step: a step without a known outcome is undone too.
    """

    command: Callable[[Saga[R]], Command]
    done: type[Event] | tuple[type[Event], ...]
    _: KW_ONLY
    failed: tuple[type[Event], ...] = ()
    timeout: timedelta = timedelta(seconds=30)
    retry: Retry = DEFAULT_RETRY
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Step(Generic[R]):
    """One command to another service.

    *done*, *failed*: the events that end it; a rejection fails it too. *when*: evaluated at the start and in its turn:
    false skips the step. *unless*: evaluated in its turn: true skips the step, because earlier outcomes made it
    needless. *already_done_ok*: the reply `command.repeated` counts as done; the step then has no outcome, and
    nothing of it is undone. *lost*: evaluated after its undo: what the undo could not restore. *keep*: evaluated before
    its undo: why it must not be undone, because the undo of a later step failed. *pivot*: once it is done the saga only
    goes forward: a later step that fails is retried, and at last waits for an operator. *patient*: the deadline of the
    saga is suspended while the step is pending. *name*: defaults to the name of the command function.
    """

    command: Callable[..., Command]
    done: type[Event]
    _: KW_ONLY
    failed: type[Event] | tuple[type[Event], ...] | None = None
    undo: tuple[Undo[R], ...] = ()
    timeout: timedelta = timedelta(seconds=30)
    retry: Retry = DEFAULT_RETRY
    when: Callable[[Saga[R]], bool] | None = None
    unless: Callable[[Saga[R]], bool] | None = None
    already_done_ok: bool = False
    lost: Callable[[Saga[R]], str | None] | None = None
    keep: Callable[[Saga[R]], str | None] | None = None
    pivot: bool = False
    patient: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.command.__name__.replace("_", "-"))

    def is_planned(self, saga: Saga[R]) -> bool:
        return self.when is None or self.when(saga)

    def is_needed(self, saga: Saga[R]) -> bool:
        return self.is_planned(saga) and not (self.unless and self.unless(saga))

    def for_item(self, item: str) -> Step[R]:
        """Returns this step, and its undo, for one *item* of an `Each`."""
        undo = tuple(replace(each, command=_bind(each.command, item)) for each in self.undo)
        return replace(self, command=_bind(self.command, item), undo=undo, name=f"{self.name}-{item}")


def _bind(command: Callable[..., Command], item: str) -> Callable[[Saga[Any]], Command]:
    return partial(command, item=item)


def child(
    start: Callable[..., StartSaga],
    done: type[Event],
    *,
    when: Callable[[Saga[Any]], bool] | None = None,
    unless: Callable[[Saga[Any]], bool] | None = None,
    keep: Callable[[Saga[Any]], str | None] | None = None,
) -> Step[Any]:
    """Makes a step that starts another saga and is done when that saga completes. Its undo withdraws the other saga.

    *start* derives the id of the child from the parent's (`saga.id_of`).
    """

    def withdraw(saga: Saga[Any], **item: str) -> WithdrawSaga:
        return WithdrawSaga(saga_id=start(saga, **item).saga_id, reason="the saga that began it is undone")

    timeout = timedelta(days=1)
    undo: Undo[Any] = Undo(
        withdraw, (SagaUndone, SagaCompensated), failed=(SagaNotUndone, SagaFailed), timeout=timeout, patient=True
    )
    return Step(
        start,
        done,
        failed=(SagaCompensated, SagaFailed, SagaUndone, SagaNotUndone),
        undo=(undo,),
        timeout=timeout,
        when=when,
        unless=unless,
        keep=keep,
        patient=True,
    )


@dataclass(frozen=True, slots=True)
class Await(Generic[R]):
    """A wait until *needed* distinct people have sent *signal*; skipped if none are needed.

    *about*: a description of the content to approve. *message_sha256*: the hash of that content if it is bytes; a
    signal counts for that hash only.
    """

    name: str
    signal: str
    _: KW_ONLY
    needed: Callable[[Saga[R]], int]
    about: Callable[[Saga[R]], str]
    message_sha256: Callable[[Saga[R]], str | None] | None = None
    timeout: timedelta = timedelta(days=7)
    unless: Callable[[Saga[R]], bool] | None = None
    undo: ClassVar[tuple[Undo[Any], ...]] = ()
    lost: ClassVar[None] = None
    keep: ClassVar[None] = None
    pivot: ClassVar[bool] = False
    patient: ClassVar[bool] = True

    def is_planned(self, saga: Saga[R]) -> bool:
        return self.needed(saga) > 0

    def is_needed(self, saga: Saga[R]) -> bool:
        return self.is_planned(saga) and not (self.unless and self.unless(saga))


@dataclass(frozen=True, slots=True)
class Sleep(Generic[R]):
    """A pause from a second to years. *until*: evaluated in its turn; None skips the sleep."""

    name: str
    until: Callable[[Saga[R]], datetime | timedelta | None]
    when: Callable[[Saga[R]], bool] | None = None
    undo: ClassVar[tuple[Undo[Any], ...]] = ()
    lost: ClassVar[None] = None
    keep: ClassVar[None] = None
    pivot: ClassVar[bool] = False
    patient: ClassVar[bool] = True
    timeout: ClassVar[timedelta] = timedelta.max

    def is_planned(self, saga: Saga[R]) -> bool:
        return self.when is None or self.when(saga)

    def is_needed(self, saga: Saga[R]) -> bool:
        return self.is_planned(saga)


SingleStep: TypeAlias = Step[R] | Await[R] | Sleep[R]


@dataclass(frozen=True, slots=True)
class Parallel(Generic[R]):
    """Branches that run side by side; the next row waits for all of them. One that fails undoes all."""

    branches: tuple[tuple[Row[R], ...], ...]

    def __init__(self, *branches: tuple[Row[R], ...] | Row[R]) -> None:
        rows = tuple(each if isinstance(each, tuple) else (each,) for each in branches)
        object.__setattr__(self, "branches", rows)

    def branches_of(self, _: Saga[R]) -> tuple[tuple[Row[R], ...], ...]:
        return self.branches


@dataclass(frozen=True, slots=True)
class Each(Generic[R]):
    """One *step* for each of *items*, side by side; its functions take `item`.

    *items*: short names (letters, digits, hyphens) that follow from the request and from earlier outcomes.
    """

    step: Step[R]
    items: Callable[[Saga[R]], Sequence[str]]

    def branches_of(self, saga: Saga[R]) -> tuple[tuple[Row[R], ...], ...]:
        return tuple((self.step.for_item(item),) for item in self.items(saga))


Row: TypeAlias = Step[R] | Await[R] | Sleep[R] | Parallel[R] | Each[R]


def flatten(rows: Sequence[Row[R]]) -> Iterator[Step[R] | Await[R] | Sleep[R]]:
    """Yields every single step in the order of the table; of an `Each`, its step without an item."""
    for row in rows:
        match row:
            case Parallel(branches=branches):
                for branch in branches:
                    yield from flatten(branch)
            case Each(step=step):
                yield step
            case _:
                yield row
