"""A client of running services, like any NATS client: it publishes commands and reads their outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy, PubAck

from shared.contracts.base import Event
from shared.messages.envelope import encode_event
from shared.messages.headers import Header, Lineage
from shared.messages.ids import new_id
from shared.process.host import Service

Body = Mapping[str, Any] | bytes


class Outcome(NamedTuple):
    """An event of the log: its kind (`key.generated`) and its body."""

    kind: str
    body: dict[str, Any]


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Run *service* in this process for as long as the body runs."""
    try:
        await service.start()
    except BaseException:
        await service.broker.stop()  # in a process of its own, the connection would end with the process
        raise
    try:
        yield
    finally:
        await service.stop()


class ServiceClient:
    """Publishes commands, named `<aggregate>.<verb>`, and reads their outcomes.

    With *ids* each request has a command id of its own and returns the event that it caused; without, a command has no
    header and the next event is its outcome, as for `nats pub`.

    *ignored*: kinds of events that are no outcome.
    """

    def __init__(self, client: Client, *, ids: bool = False, ignored: Collection[str] = ()) -> None:
        self.js = client.jetstream()
        self._client = client
        self._ids = ids
        self._ignored = frozenset(ignored)
        self._events: Any = None

    async def connect(self, *, from_log: bool = False) -> ServiceClient:
        """Subscribe to all events; *from_log*: to those that are stored, in their order, from the first."""
        if from_log:
            self._events = await self.js.subscribe("keys.events.>", stream="KEYS_EVENTS", ordered_consumer=True)
        else:
            self._events = await self._client.subscribe("keys.events.>")
        return self

    async def publish(self, command: str, body: Body, **headers: str) -> PubAck:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.js.publish(f"keys.commands.{command}", raw, headers=headers or None)

    async def next_event(self, within_s: float = 10) -> Outcome:
        while True:
            event = _outcome(await self._events.next_msg(timeout=within_s))
            if event.kind not in self._ignored:
                return event

    async def request(self, command: str, body: Body, *, command_id: str | None = None) -> Outcome:
        """Publish a command and return its outcome."""
        if command_id is None and not self._ids:
            await self.publish(command, body)
            return await self.next_event()
        own_id = command_id or str(new_id())
        await self.publish(command, body, **{Header.COMMAND_ID: own_id})
        async with asyncio.timeout(20):
            while True:
                event = await self._events.next_msg(timeout=20)
                if (event.headers or {}).get(Header.CAUSATION_ID) == own_id:
                    return _outcome(event)

    async def accepted(self, command: str, body: Body, kind: str) -> dict[str, Any]:
        """Publishes a command; returns the body of its outcome, which must be an event of *kind*."""
        outcome = await self.request(command, body)
        assert outcome.kind == kind, outcome
        return outcome.body

    async def rejected(self, command: str, body: Body) -> dict[str, Any]:
        """Publishes a command; returns the body of its rejection."""
        return await self.accepted(command, body, "command.rejected")

    async def store(self, *events: Event) -> None:
        """Append events of other services to the log, and wait until they are read from it."""
        for event in events:
            message = encode_event(event, Lineage.root(new_id()), "certificate")
            await self.js.publish(message.subject, message.payload, headers=message.headers)
            await self._events.next_msg(timeout=10)

    async def logged(self, pattern: str, count: int = 1, within_s: float = 10) -> list[Msg]:
        """The first *count* events of *pattern* in the log."""
        events = await self.js.subscribe(pattern, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
        try:
            return [await events.next_msg(timeout=within_s) for _ in range(count)]
        finally:
            await events.unsubscribe()

    async def all_logged(self, pattern: str = "keys.events.>") -> list[Msg]:
        info = await self.js.stream_info("KEYS_EVENTS", subjects_filter=pattern)
        return await self.logged(pattern, sum((info.state.subjects or {}).values()))


def _outcome(event: Msg) -> Outcome:
    return Outcome(".".join(event.subject.split(".")[2:4]), json.loads(event.data))
