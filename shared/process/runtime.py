"""The runtime of a decider: commands in from KEYS_COMMANDS, one answer each out to KEYS_EVENTS.

FastStream delivers (`shared.process.subscriber`), acknowledges and runs the middlewares (`shared.process.middlewares`);
this module has its handlers: deduplication, order per aggregate, the loop of decide, perform and append.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar
from weakref import WeakValueDictionary

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared.contracts.base import Command, Event
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Decider, Rejection, run
from shared.errors import Conflict, Poison
from shared.messages.catalog import catalog
from shared.messages.envelope import ReceivedCommand, decode_command
from shared.messages.ids import timestamp_of
from shared.messages.subjects import aggregate_type_of
from shared.nats.client import Client
from shared.process.host import Host, Service
from shared.process.middlewares import RejectionMiddleware
from shared.store.event_store import EventStore
from shared.store.replies import Replies
from shared.telemetry import instruments

if TYPE_CHECKING:
    from faststream.message import StreamMessage

MAX_CONFLICTS = 20
DEDUPLICATED = timedelta(seconds=60)
"""Age up to which the stream surely deduplicates (its window is 2 min); the answers to older commands are looked up."""

MAX_CLOCK_SKEW = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

State = TypeVar("State")
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)
Effect = TypeVar("Effect")
Outcome = TypeVar("Outcome")
log = logging.getLogger(__name__)

current_command: ContextVar[ReceivedCommand[Any]] = ContextVar("current_command")
"""The command that is being carried out; what its effects publish belongs to its conversation."""


class Delivered(NamedTuple):
    """A command and the message that it was decoded from."""

    message: Msg
    command: ReceivedCommand[Any]

    @property
    def is_redelivery(self) -> bool:
        return self.message.metadata.num_delivered > 1


class CommandService(Generic[State, C, E, Effect, Outcome]):
    """A decider as a service: it answers every command of its aggregate once, those of one aggregate in order."""

    def __init__(
        self,
        name: str,
        decider: Decider[State, C, E, Effect, Outcome],
        perform: Callable[[Effect], Awaitable[Outcome]],
        store: EventStore[State, E],
        replies: Replies,
    ) -> None:
        self._name = name
        self._decider = decider
        self._perform = perform
        self._store = store
        self._replies = replies
        self._commands = {kind.__name__: kind for kind in decider.commands}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def decode(self, message: Msg) -> Delivered:
        return Delivered(message, decode_command(message, self._name, self._commands))

    async def handle(self, message: Msg) -> None:
        """Answers the command in *message*; when this returns, the answer is durable."""
        delivered = self.decode(message)
        if not await self.reject(delivered):
            await self.execute(delivered)

    async def reject(self, delivered: Delivered) -> bool:
        """Rejects a command that could not be decoded. False: it could, and nothing was done."""
        rejection = delivered.command.body
        if not isinstance(rejection, Rejection):
            return False
        await self._answer_once(delivered, partial(self._replies.send, delivered.command, rejection))
        return True

    async def execute(self, delivered: Delivered) -> None:
        """Decides on the command and stores the event or reply; when this returns, it is durable."""
        body = delivered.command.body
        assert not isinstance(body, Rejection)
        await self._answer_once(delivered, partial(self._decide, delivered.command, body))

    async def give_up(self, message: Msg) -> None:
        """Rejects a command that could not be carried out, unless its last attempt did succeed."""
        received = self.decode(message).command
        if not await self._carried_out(received):
            await self._replies.give_up(received)

    async def _answer_once(self, delivered: Delivered, answer: Callable[[], Awaitable[None]]) -> None:
        received = delivered.command
        lock = self._locks.setdefault(received.aggregate_id or "", asyncio.Lock())
        async with lock:
            try:
                if not await self._is_answered(received, is_redelivery=delivered.is_redelivery):
                    await answer()
            except Poison as error:
                message = delivered.message
                log.error("%s: %s", message.subject, error)  # noqa: TRY400 - the log of events is at fault, not the code
                await self._replies.send(
                    received, Rejection(RejectionCode.INTERNAL, f"its history is not readable: {error}")
                )

    async def _decide(self, received: ReceivedCommand[C], command: C) -> None:
        current_command.set(received)
        aggregate_id, command_id = command.identity, received.lineage.message_id
        if isinstance(command, self._decider.creation_commands):
            current = self._store.presume_new(aggregate_id)
        else:
            current = await self._store.load(aggregate_id)
        for _ in range(MAX_CONFLICTS):
            if current.has_handled(command_id):
                return
            answer = await run(self._decider, self._perform, current.state, command, received.context())
            if isinstance(answer, Rejection | AlreadyDone):
                latest = await self._store.refresh(aggregate_id, current)
                if latest.sequence == current.sequence:
                    await self._replies.send(received, answer)
                    return
                current = latest  # the decision was made on a stale state
                continue
            try:
                await self._store.append(current, answer, received.lineage, self._name)
            except Conflict:
                current = await self._store.refresh(aggregate_id, current)
            else:
                instruments.record_outcome(type(answer).__name__)
                return
        raise Conflict(f"{aggregate_id} changed {MAX_CONFLICTS} times while {received.command_type} was decided on")

    async def _is_answered(self, received: ReceivedCommand[C], *, is_redelivery: bool) -> bool:
        """Looks up an earlier answer, if the command can have one: a redelivery, or a repetition by its client."""
        if not (is_redelivery or received.named or is_old(received)):
            return False
        command_id = received.lineage.message_id
        if await self._replies.has_reply(command_id):
            return True
        if received.aggregate_id is None or not is_old(received):
            return False  # `_decide` finds it in the aggregate's recent commands, or the stream deduplicates it
        cached = await self._store.load(received.aggregate_id)
        current = await self._store.refresh(received.aggregate_id, cached)  # a stale state lists other recent commands
        if current.has_handled(command_id) or current.has_all_command_ids:
            return False
        created_at = timestamp_of(command_id)
        since = created_at - MAX_CLOCK_SKEW if created_at is not None and created_at <= received.at else _EPOCH
        return await self._store.handled_in_log(received.aggregate_id, command_id, since)

    async def _carried_out(self, received: ReceivedCommand[C]) -> bool:
        """Looks for the event of the last attempt: it may have succeeded, and only its acknowledgement was lost."""
        if received.aggregate_id is None:
            return False
        try:
            current = await self._store.refresh(received.aggregate_id, await self._store.load(received.aggregate_id))
        except (Poison, ValueError, KeyError):  # the log itself cannot be read: that is why the command is given up
            return False
        return current.has_handled(received.lineage.message_id)


def is_old(received: ReceivedCommand[C]) -> bool:
    """Judges by its id: the answer to an old command may have left the stream's deduplication window."""
    created_at = timestamp_of(received.lineage.message_id)
    return created_at is None or abs(datetime.now(UTC) - created_at) > DEDUPLICATED


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
    """An aggregate type of a service. *prepare*, called once the streams exist, returns its performer; a decider
    without effects needs none. *route* wraps the handler where only one process can carry a command out."""

    type: str
    decider: Decider[State, C, E, Effect, Outcome]
    prepare: Callable[[JetStreamContext, Stores], Awaitable[Callable[[Effect], Awaitable[Outcome]]]] | None = None
    route: Callable[[Handler], Awaitable[Handler]] | None = None


def serve(host: Host, service: str, *aggregates: Aggregate[Any, Any, Any, Any, Any]) -> Service:
    """Registers the command consumer of *service* with one handler per aggregate type, and returns its application."""
    endpoints = {each.type: _Endpoint(service, each) for each in aggregates}

    async def prepare(client: Client) -> None:
        js = client.jetstream()
        stores = {each.type: store_of(js, each.type, each.decider) for each in aggregates}
        for endpoint in endpoints.values():
            store = await endpoint.prepare(js, stores)
            host.background(store.save_forever())
            host.on_stopped(store.save)

    async def replay(message: Msg) -> None:
        await endpoints[aggregate_type_of(message.subject)].handle(message)

    async def give_up(message: Msg) -> None:
        await endpoints[aggregate_type_of(message.subject)].commands.give_up(message)

    async def reject(delivered: Delivered) -> bool:
        return await endpoints[aggregate_type_of(delivered.message.subject)].commands.reject(delivered)

    host.on_started(prepare)
    subscriber = host.subscriber(
        service,
        replay,
        give_up,
        [partial(RejectionMiddleware, reject=reject)],
        payloads=_payloads(service, aggregates),
    )
    for endpoint in endpoints.values():
        subscriber(endpoint.execute, filter=endpoint.is_addressed, decoder=endpoint.decode)
    return host.app


class _Endpoint:
    """An aggregate type as a FastStream handler: its filter, its decoder and the handler itself."""

    def __init__(self, service: str, aggregate: Aggregate[Any, Any, Any, Any, Any]) -> None:
        self._service = service
        self._aggregate = aggregate
        self.commands: CommandService[Any, Any, Any, Any, Any]
        self._route: Handler | None = None

    async def prepare(self, js: JetStreamContext, stores: Stores) -> EventStore[Any, Any]:
        aggregate = self._aggregate
        perform = await aggregate.prepare(js, stores) if aggregate.prepare else _perform_nothing
        store = stores[aggregate.type]
        self.commands = CommandService(self._service, aggregate.decider, perform, store, Replies(js, self._service))
        self._route = await aggregate.route(self.commands.handle) if aggregate.route else None
        return store

    async def is_addressed(self, message: StreamMessage[Msg]) -> bool:
        return aggregate_type_of(message.raw_message.subject) == self._aggregate.type

    async def decode(self, message: StreamMessage[Msg]) -> Delivered:
        return self.commands.decode(message.raw_message)

    async def execute(self, delivered: Delivered) -> None:
        if self._route is not None:
            await self._route(delivered.message)
        else:
            await self.commands.execute(delivered)

    async def handle(self, message: Msg) -> None:
        """Handles a message that does not come from the consumer: nothing of it is acknowledged."""
        await (self._route or self.commands.handle)(message)


async def _perform_nothing(effect: object) -> NoReturn:
    raise LookupError(f"no performer for {type(effect).__name__}")


def _payloads(service: str, aggregates: Iterable[Aggregate[Any, Any, Any, Any, Any]]) -> dict[str, type[Command]]:
    """The model of each command subject of *service*."""
    kinds = {kind.__name__: kind for aggregate in aggregates for kind in aggregate.decider.commands}
    commands = catalog().commands
    return {subject: kinds[commands[subject]] for subject in catalog().commands_of(service)}
