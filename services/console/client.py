"""A client of the suite: publishes a command and waits for its outcome, or for the end of the saga it started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, PubAck
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from services.console.fields import model_of
from services.console.wire_message import WireMessage
from shared.messages.catalog import COMMANDS, catalog
from shared.messages.headers import Header, Lineage, to_headers
from shared.messages.ids import derive_id, new_id
from shared.messages.subjects import aggregate_type_of
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import read_until_end
from shared.nats.ordered_consumer import ordered_subscribe

STREAM = "KEYS_EVENTS"
SOURCE = "console"
_REQUEST_TIMEOUT_S = 5.0


class Exit(IntEnum):
    DONE = 0
    NOT_DONE = 1
    WRONG_USAGE = 2
    NO_OUTCOME = 3
    NO_CONNECTION = 4


class Failure(Exception):
    """A command failed. The message is what the person sees."""

    def __init__(self, status: Exit, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command, and the outcome to wait for: the event it causes or, with *until_saga_ends*, the end of its saga."""

    name: str
    body: dict[str, Any]
    actor: str
    until_saga_ends: bool = False
    command_id: UUID = field(default_factory=new_id)

    @property
    def subject(self) -> str:
        return f"{COMMANDS}.{self.name}"

    @property
    def aggregate_type(self) -> str:
        return model_of(self.name).aggregate_type

    @property
    def aggregate_id(self) -> str:
        """Returns the aggregate's id: from the body, or derived as the service derives it."""
        id_field = model_of(self.name).identified_by
        return str(self.body.get(id_field) or derive_id(self.command_id, id_field))

    @property
    def headers(self) -> dict[str, str]:
        model = model_of(self.name)
        lineage = Lineage.root(self.command_id, self.actor)
        return to_headers(lineage, "Command", model.__name__, SOURCE, model.schema_version)


@asynccontextmanager
async def connected(
    url: str, report: Callable[[str], None], access: Access = ANONYMOUS, role: str = "operator"
) -> AsyncIterator[Client]:
    """Connects once without retries, and reconnects if the connection breaks later. *report* gets its errors."""
    attempts: list[str] = []
    on_problem = attempts.append

    async def on_error(error: Exception) -> None:
        on_problem(str(error) or type(error).__name__)

    async def on_reconnected() -> None:
        on_problem("reconnected; messages published during the interruption were not received")

    try:
        client = await access.connect(
            url,
            role,
            name="cim-keys-console",
            error_cb=on_error,
            reconnected_cb=on_reconnected,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.2,
        )
    except (NatsError, OSError, ValueError) as error:
        reason = attempts[-1] if attempts else str(error)
        raise Failure(Exit.NO_CONNECTION, f"no connection to {display_address(url)}: {reason}") from error
    on_problem = report
    client.options["max_reconnect_attempts"] = -1  # unlimited after the first attempt
    try:
        yield client
    finally:
        with suppress(NatsError, OSError):
            await client.close()


def display_address(url: str) -> str:
    """Returns the hosts of *url* without credentials."""
    return ", ".join(urlsplit(server).netloc.rpartition("@")[2] or server for server in url.split(","))


async def store_command(client: Client, request: CommandRequest, problems: list[str]) -> PubAck:
    """Stores the command. Retries until cancelled: JetStream deduplicates by the command id."""
    js = client.jetstream(timeout=_REQUEST_TIMEOUT_S)
    payload = json.dumps(request.body, ensure_ascii=False).encode()
    while True:
        try:
            return await js.publish(request.subject, payload, headers=request.headers)
        except NoStreamResponseError as error:
            raise Failure(Exit.NO_CONNECTION, _no_stream(request)) from error
        except MaxPayloadError as error:
            raise Failure(Exit.WRONG_USAGE, f"{len(payload)} bytes exceed the maximum payload of the server") from error
        except APIError as error:
            raise Failure(Exit.NOT_DONE, f"the command was not stored: {error.description}") from error
        except TimeoutError:
            if violations := [problem for problem in problems if "permissions violation" in problem.lower()]:
                raise Failure(Exit.NOT_DONE, violations[-1]) from None


async def send(client: Client, request: CommandRequest, timeout_s: float, problems: list[str]) -> WireMessage:
    """Stores the command and returns its outcome. Raises Failure if none arrives within *timeout_s*."""
    received: asyncio.Queue[WireMessage] = asyncio.Queue()

    async def on_message(message: Msg) -> None:
        received.put_nowait(WireMessage.of(message))

    for pattern in (f"keys.events.{request.aggregate_type}.>", f"keys.events.command.*.{request.command_id}"):
        await client.subscribe(pattern, cb=on_message)
    matcher, stored = _OutcomeMatcher(request), False
    try:
        async with asyncio.timeout(timeout_s):
            await store_command(client, request, problems)
            stored = True
            while True:
                event = await received.get()
                if matcher.matches(event):
                    return event
                if event.kind == "command.repeated" and (earlier := await _find_stored_outcome(client, matcher)):
                    return earlier
    except TimeoutError as error:
        with suppress(TimeoutError):
            if stored and (missed := await _find_stored_outcome(client, matcher)):
                return missed
        raise Failure(Exit.NO_OUTCOME, _no_outcome(request, timeout_s, stored=stored)) from error


class _OutcomeMatcher:
    """Recognizes the outcome of one command."""

    def __init__(self, request: CommandRequest) -> None:
        self.request = request
        self._command_id = str(request.command_id)
        self._started_saga = False

    def matches(self, event: WireMessage) -> bool:
        is_caused = event.headers.get(Header.CAUSATION_ID) == self._command_id
        if not self.request.until_saga_ends or event.kind == "command.rejected":
            return is_caused
        if event.identity != self.request.aggregate_id and event.kind != "command.repeated":
            return False
        # Another command may have started this saga, and the service may still reject ours: the end of the saga
        # counts only after an event has shown that our command started it.
        self._started_saga |= is_caused or event.headers.get(Header.CORRELATION_ID) == self._command_id
        return self._started_saga and event.is_end


async def _find_stored_outcome(client: Client, matcher: _OutcomeMatcher) -> WireMessage | None:
    """Looks for a stored outcome: the reply to the command id, or the last event of the aggregate."""
    js, request = client.jetstream(timeout=_REQUEST_TIMEOUT_S), matcher.request
    saga = "*.*" if request.aggregate_type == "saga" else "*"
    for subject in (
        f"keys.events.command.*.{request.command_id}",
        f"keys.events.{request.aggregate_type}.{saga}.{request.aggregate_id}",
    ):
        event = await last_event(js, subject)
        if event is not None and matcher.matches(event):
            return event
    return None


async def last_event(js: JetStreamContext, pattern: str) -> WireMessage | None:
    """Reads the last event on *pattern* from the stream leader."""
    try:
        return WireMessage.of(await js.get_msg(STREAM, subject=pattern, direct=False))
    except NotFoundError:
        return None


async def read_events(js: JetStreamContext, config: ConsumerConfig) -> AsyncGenerator[WireMessage, None]:
    """Yields the events that *config* selects, in order, up to the present end of the stream.

    A caller that stops early closes the generator (`contextlib.aclosing`).
    """
    subscription = await ordered_subscribe(js, STREAM, "keys.events.>", config)
    async with aclosing(read_until_end(subscription)) as messages:
        async for message in messages:
            yield WireMessage.of(message)


def _no_stream(request: CommandRequest) -> str:
    aggregates = sorted({aggregate_type_of(subject) for subject in catalog().commands})
    return (
        f"no stream on this server has the subject {request.subject}: start the suite on it first, "
        f"or it has no aggregate {request.aggregate_type} (this console knows {', '.join(aggregates)})"
    )


def _no_outcome(request: CommandRequest, timeout_s: float, *, stored: bool) -> str:
    if not stored:
        return f"{request.name} could not be stored within {timeout_s:g} s"
    where = f"cim-keys watch --since-start --correlation {request.command_id}"
    return f"no outcome of {request.name} within {timeout_s:g} s; it is stored and may still be carried out: {where}"
