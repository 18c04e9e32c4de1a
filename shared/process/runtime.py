"""What makes a decider a running service: commands in from KEYS_COMMANDS, one answer each out to KEYS_EVENTS.

FastStream owns the process (`shared.process.host`), the consumer reads; this module is the loop between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared.contracts.base import Command, Event
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Decider, Rejection, run
from shared.errors import Conflict, Poison
from shared.messages.envelope import ReceivedCommand, decode_command
from shared.messages.ids import timestamp_of
from shared.messages.subjects import aggregate_type_of
from shared.nats.client import Client
from shared.process.host import Host, Service
from shared.store.event_store import EventStore
from shared.store.replies import Replies
from shared.telemetry import instruments

_MOST_CONFLICTS = 20
_WINDOW = timedelta(seconds=60)
"""What is younger than this is recognised by the stream's own de-duplication (2 min); older ids are looked up."""

_CLOCKS_DIFFER = timedelta(minutes=5)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)

State = TypeVar("State")
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)
Effect = TypeVar("Effect")
Outcome = TypeVar("Outcome")
log = logging.getLogger(__name__)

current_command: ContextVar[ReceivedCommand[Any]] = ContextVar("current_command")
"""The command that is being carried out: what an effect tells of meanwhile belongs to its conversation."""


class CommandService(Generic[State, C, E, Effect, Outcome]):
    """One decider at work: every command of its aggregate is answered once, those of one aggregate in order."""

    def __init__(
        self,
        name: str,
        decider: Decider[State, C, E, Effect, Outcome],
        perform: Callable[[Effect], Awaitable[Outcome]],
        store: EventStore[State, E],
        answers: Replies,
    ) -> None:
        self._name = name
        self._decider = decider
        self._perform = perform
        self._store = store
        self._answers = answers
        self._language = {kind.__name__: kind for kind in decider.commands}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def handle(self, message: Msg) -> None:
        """Answer the command in *message*; when this returns, the answer is durable."""
        received = decode_command(message, self._name, self._language)
        turn = self._turns.setdefault(received.aggregate_id or "", asyncio.Lock())
        async with turn:
            try:
                await self._answer(received, again=message.metadata.num_delivered > 1)
            except Poison as error:
                log.error("%s: %s", message.subject, error)  # noqa: TRY400 - what is wrong is in the log of events
                await self._answers.send(
                    received, Rejection(RejectionCode.INTERNAL, f"its history is not readable: {error}")
                )

    async def _answer(self, received: ReceivedCommand[C], *, again: bool) -> None:
        perhaps_again = again or received.named or is_old(received)
        if perhaps_again and await self._answered_before(received):
            return
        if isinstance(received.body, Rejection):
            await self._answers.send(received, received.body)
        else:
            await self._decide(received, received.body)

    async def give_up(self, message: Msg) -> None:
        received = decode_command(message, self._name, self._language)
        if not await self._carried_out(received):
            await self._answers.give_up(received)

    async def _decide(self, received: ReceivedCommand[C], command: C) -> None:
        current_command.set(received)
        aggregate_id, command_id = command.identity, received.lineage.message_id
        if isinstance(command, self._decider.creation_commands):
            standing = self._store.presume_new(aggregate_id)
        else:
            standing = await self._store.load(aggregate_id)
        for _ in range(_MOST_CONFLICTS):
            if standing.has_handled(command_id):
                return
            answer = await run(self._decider, self._perform, standing.state, command, received.context())
            if isinstance(answer, Rejection | AlreadyDone):
                current = await self._store.refresh(aggregate_id, standing)
                if current.sequence == standing.sequence:
                    await self._answers.send(received, answer)
                    return
                standing = current  # it was decided on what stands no longer
                continue
            try:
                await self._store.append(standing, answer, received.lineage, self._name)
            except Conflict:
                standing = await self._store.refresh(aggregate_id, standing)
            else:
                instruments.record_outcome(type(answer).__name__)
                return
        raise Conflict(f"{aggregate_id} changed {_MOST_CONFLICTS} times while {received.command_type} was decided on")

    async def _answered_before(self, received: ReceivedCommand[C]) -> bool:
        """Whether this very command has its answer: it was delivered again, or is told again by its client."""
        command_id = received.lineage.message_id
        if await self._answers.has_reply(command_id):
            return True
        if received.aggregate_id is None or not is_old(received):
            return False  # `_decide` recognises it by the standing, or the stream by its window
        known = await self._store.load(received.aggregate_id)
        standing = await self._store.refresh(received.aggregate_id, known)  # what lags may have forgotten less than all
        if standing.has_handled(command_id) or standing.has_all_command_ids:
            return False
        drawn = timestamp_of(command_id)
        since = drawn - _CLOCKS_DIFFER if drawn is not None and drawn <= received.at else _EVER
        return await self._store.handled_in_log(received.aggregate_id, command_id, since)

    async def _carried_out(self, received: ReceivedCommand[C]) -> bool:
        """Whether the last attempt did succeed, and only the news of it was lost."""
        if received.aggregate_id is None:
            return False
        try:
            standing = await self._store.refresh(received.aggregate_id, await self._store.load(received.aggregate_id))
        except (Poison, ValueError, KeyError):  # the log itself cannot be read: that is why it is surrendered
            return False
        return standing.has_handled(received.lineage.message_id)


def is_old(received: ReceivedCommand[C]) -> bool:
    """Whether what the command led to may have left the stream's de-duplication window, by all that its id can tell."""
    drawn = timestamp_of(received.lineage.message_id)
    return drawn is None or abs(datetime.now(UTC) - drawn) > _WINDOW


def store_of(
    js: JetStreamContext, aggregate_type: str, decider: Decider[State, C, E, Effect, Outcome]
) -> EventStore[State, E]:
    """The event store of the aggregates that *decider* decides on."""
    return EventStore(
        js,
        aggregate_type,
        initial=decider.initial,
        evolve=decider.evolve,
        events={kind.__name__: kind for kind in decider.events},
        states=decider.states,
        state_version=decider.state_version,
    )


Handler = Callable[[Msg], Awaitable[None]]
Stores = Mapping[str, EventStore[Any, Any]]
"""The event stores of a service, by aggregate type."""


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[State, C, E, Effect, Outcome]):
    """One type of aggregate that a service answers for. *prepare* is called once the streams stand, and returns what
    performs the decider's effects; *route* what stands before the handler, where not every process can do all."""

    type: str
    decider: Decider[State, C, E, Effect, Outcome]
    prepare: Callable[[JetStreamContext, Stores], Awaitable[Callable[[Effect], Awaitable[Outcome]]]]
    route: Callable[[Handler], Awaitable[Handler]] | None = None


def serve(host: Host, service: str, *aggregates: Aggregate[Any, Any, Any, Any, Any]) -> Service:
    """The service of that name, which answers the commands of *aggregates* from the durable consumer of its name."""

    async def begin(client: Client) -> None:
        js, services = client.jetstream(), dict[str, CommandService[Any, Any, Any, Any, Any]]()
        handlers: dict[str, Handler] = {}
        stores = {each.type: store_of(js, each.type, each.decider) for each in aggregates}
        for each in aggregates:
            store, perform = stores[each.type], await each.prepare(js, stores)
            own = services[each.type] = CommandService(service, each.decider, perform, store, Replies(js, service))
            handlers[each.type] = await each.route(own.handle) if each.route else own.handle
            host.background(store.save_forever())
            host.on_stopped(store.save)

        async def handle(message: Msg) -> None:
            await handlers[aggregate_type_of(message.subject)](message)

        async def give_up(message: Msg) -> None:
            await services[aggregate_type_of(message.subject)].give_up(message)

        await host.consume(client, service, handle, give_up)

    host.on_started(begin)
    return host.app
