"""Publishing a command, and hearing what becomes of it: the event that answers it, or the end of the saga it began."""

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
from services.console.wire_message import Heard
from shared.messages.catalog import COMMANDS, catalog
from shared.messages.headers import Header, Lineage, to_headers
from shared.messages.ids import derive_id, new_id
from shared.messages.subjects import aggregate_type_of
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import read_until_end
from shared.nats.ordered_consumer import ordered_subscribe

STREAM = "KEYS_EVENTS"
SOURCE = "console"
_PATIENCE = 5.0


class Exit(IntEnum):
    DONE = 0
    NOT_DONE = 1
    WRONG_USAGE = 2
    NO_OUTCOME = 3
    NO_CONNECTION = 4


class Failure(Exception):
    """What was asked for did not come about; the message is all that a person is told."""

    def __init__(self, status: Exit, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Ask:
    """A command to send, and what to wait for: the event that it causes or, with *to_the_end*, the end of its saga."""

    name: str
    body: dict[str, Any]
    actor: str
    to_the_end: bool = False
    command_id: UUID = field(default_factory=new_id)

    @property
    def subject(self) -> str:
        return f"{COMMANDS}.{self.name}"

    @property
    def aggregate_type(self) -> str:
        return model_of(self.name).aggregate_type

    @property
    def aggregate_id(self) -> str:
        """Whom the command is about: what it says, or what every reader of it derives."""
        named = model_of(self.name).identified_by
        return str(self.body.get(named) or derive_id(self.command_id, named))

    @property
    def headers(self) -> dict[str, str]:
        model = model_of(self.name)
        lineage = Lineage.root(self.command_id, self.actor)
        return to_headers(lineage, "Command", model.__name__, SOURCE, model.schema_version)


@asynccontextmanager
async def connected(
    url: str, report: Callable[[str], None], access: Access = ANONYMOUS, role: str = "operator"
) -> AsyncIterator[Client]:
    """A connection that is made at once or not at all, and once made is kept. *report* hears what goes wrong on it."""
    attempts: list[str] = []
    tell = attempts.append

    async def on_error(error: Exception) -> None:
        tell(str(error) or type(error).__name__)

    async def on_reconnected() -> None:
        tell("connected again; what was said meanwhile was not heard")

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
        raise Failure(Exit.NO_CONNECTION, f"no connection to {places(url)}: {reason}") from error
    tell = report
    client.options["max_reconnect_attempts"] = -1  # to give up early is right only for the first attempt
    try:
        yield client
    finally:
        with suppress(NatsError, OSError):
            await client.close()


def places(url: str) -> str:
    """Where *url* leads, without the password that may stand in it."""
    return ", ".join(urlsplit(server).netloc.rpartition("@")[2] or server for server in url.split(","))


async def post(client: Client, ask: Ask, problems: list[str]) -> PubAck:
    """Store the command, trying until it is told to stop: its id makes one of it however often it is sent."""
    js = client.jetstream(timeout=_PATIENCE)
    payload = json.dumps(ask.body, ensure_ascii=False).encode()
    while True:
        try:
            return await js.publish(ask.subject, payload, headers=ask.headers)
        except NoStreamResponseError as error:
            raise Failure(Exit.NO_CONNECTION, _nobody(ask)) from error
        except MaxPayloadError as error:
            raise Failure(Exit.WRONG_USAGE, f"{len(payload)} bytes are more than the server takes") from error
        except APIError as error:
            raise Failure(Exit.NOT_DONE, f"the command was not stored: {error.description}") from error
        except TimeoutError:
            if refused := [problem for problem in problems if "permissions violation" in problem.lower()]:
                raise Failure(Exit.NOT_DONE, refused[-1]) from None


async def send(client: Client, ask: Ask, within: float, problems: list[str]) -> Heard:
    """Store the command and return its outcome. Raises Failure when there is none *within* that many seconds."""
    heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def on_message(message: Msg) -> None:
        heard.put_nowait(Heard.of(message))

    for pattern in (f"keys.events.{ask.aggregate_type}.>", f"keys.events.command.*.{ask.command_id}"):
        await client.subscribe(pattern, cb=on_message)
    wait, stored = _Wait(ask), False
    try:
        async with asyncio.timeout(within):
            await post(client, ask, problems)
            stored = True
            while True:
                event = await heard.get()
                if wait.ends_with(event):
                    return event
                if event.kind == "command.repeated" and (earlier := await _look(client, wait)):
                    return earlier
    except TimeoutError as error:
        with suppress(TimeoutError):
            if stored and (missed := await _look(client, wait)):
                return missed
        raise Failure(Exit.NO_OUTCOME, _silence(ask, within, stored=stored)) from error


class _Wait:
    """Which event is the one that is waited for."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._command_id = str(ask.command_id)
        self._is_ours = False

    def ends_with(self, event: Heard) -> bool:
        caused = event.headers.get(Header.CAUSATION_ID) == self._command_id
        if not self.ask.to_the_end or event.kind == "command.rejected":
            return caused
        if event.identity != self.ask.aggregate_id and event.kind != "command.repeated":
            return False
        # A saga of this id may be another one's, and our command still to be refused: its end counts for us only
        # once the saga is known to be ours, or to be what we asked for.
        self._is_ours |= caused or event.headers.get(Header.CORRELATION_ID) == self._command_id
        return self._is_ours and event.is_end


async def _look(client: Client, wait: _Wait) -> Heard | None:
    """What stands in the stream already: the answer under the command's id, the last event of its aggregate."""
    js, ask = client.jetstream(timeout=_PATIENCE), wait.ask
    saga = "*.*" if ask.aggregate_type == "saga" else "*"
    for subject in (
        f"keys.events.command.*.{ask.command_id}",
        f"keys.events.{ask.aggregate_type}.{saga}.{ask.aggregate_id}",
    ):
        event = await last(js, subject)
        if event is not None and wait.ends_with(event):
            return event
    return None


async def last(js: JetStreamContext, pattern: str) -> Heard | None:
    """The last event on *pattern*, read from the leader."""
    try:
        return Heard.of(await js.get_msg(STREAM, subject=pattern, direct=False))
    except NotFoundError:
        return None


async def history(js: JetStreamContext, config: ConsumerConfig) -> AsyncGenerator[Heard, None]:
    """The events that stand in the stream when this is asked, in their order; which ones, *config* says.

    Whoever does not read to the end closes it (`contextlib.aclosing`).
    """
    subscription = await ordered_subscribe(js, STREAM, "keys.events.>", config)
    async with aclosing(read_until_end(subscription)) as messages:
        async for message in messages:
            yield Heard.of(message)


def _nobody(ask: Ask) -> str:
    aggregates = sorted({aggregate_type_of(subject) for subject in catalog().commands})
    return (
        f"no stream on this server takes {ask.subject}: the suite has not run here, "
        f"or knows no aggregate {ask.aggregate_type} (this console knows {', '.join(aggregates)})"
    )


def _silence(ask: Ask, within: float, *, stored: bool) -> str:
    if not stored:
        return f"{ask.name} could not be stored within {within:g} s"
    where = f"cim-keys watch --since-start --correlation {ask.command_id}"
    return f"no outcome of {ask.name} within {within:g} s; it is stored and may still be carried out: {where}"
