"""Deciders, the functional core of every service, and the loop that runs them.

``decide`` maps a command to an event and ``evolve`` applies an event; both are pure. An effect is data that ``decide``
returns and a performer carries out; ``decide`` gets its outcome next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Generic, TypeVar, final
from uuid import UUID

from pydantic import JsonValue, TypeAdapter

from shared.contracts.base import Command, Event
from shared.contracts.rejection import RejectionCode

State = TypeVar("State")
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)
Effect = TypeVar("Effect")
Outcome = TypeVar("Outcome")
Effect_co = TypeVar("Effect_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Metadata of a command: its id, its aggregate's id, the time at which it was stored, its actor."""

    command_id: UUID
    aggregate_id: str
    at: datetime
    actor: str = "anonymous"


@final
@dataclass(frozen=True, slots=True)
class Perform(Generic[Effect_co]):
    """Requests an effect, whose outcome is the next input of `decide`. Effects are idempotent."""

    effect: Effect_co


@final
@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejects the command; *message* says what is wrong and what would be right. Changes no aggregate."""

    code: RejectionCode
    message: str
    _: KW_ONLY
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    retryable: bool = False


@final
@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The requested result exists already. Changes no aggregate."""

    details: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decider(Generic[State, C, E, Effect, Outcome]):
    """The pure functions and types of one aggregate type.

    *state_version* changes with the shape of *states*: snapshots of another version are not read.

    *creation_commands*: the commands that usually create their aggregate, and whose effects do no harm if it exists.
    They are decided on without loading the aggregate: if it exists already, the append conflicts.
    """

    initial: State
    decide: Callable[[State, C | Outcome, Context], E | Rejection | AlreadyDone | Perform[Effect]]
    evolve: Callable[[State, E], State]
    commands: tuple[type[C], ...]
    events: tuple[type[E], ...]
    states: TypeAdapter[State]
    state_version: int = 1
    creation_commands: tuple[type[C], ...] = ()


async def run(
    decider: Decider[State, C, E, Effect, Outcome],
    perform: Callable[[Effect], Awaitable[Outcome]],
    state: State,
    command: C,
    context: Context,
) -> E | Rejection | AlreadyDone:
    """Decides on *command* and performs the requested effects until there is an event or a reply."""
    output = decider.decide(state, command, context)
    while isinstance(output, Perform):
        output = decider.decide(state, await perform(output.effect), context)
    return output
