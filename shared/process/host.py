"""A service as a process: a FastStream application with its connection, its consumers and its background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

import uvloop
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.msg import Msg

from shared.errors import Conflict, Poison, Transient, Unusable
from shared.nats.client import Client
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import KeyValue
from shared.nats.streams import ACK_WAIT_S, declare, declare_consumer, require_server
from shared.process.broker import ServiceBroker
from shared.process.consumer import GiveUp, IsRelevant, PullConsumer
from shared.process.gc_tuning import tune_gc
from shared.process.metrics import buried, measure_forever, reconnects
from shared.process.settings import HealthSettings, InvalidSettings, LogSettings, ServiceSettings, TelemetrySettings
from shared.process.tasks import failed_tasks, start_task
from shared.store.dead_letters import BUCKET, DeadLetters
from shared.telemetry import instruments
from shared.telemetry.logs import log_to_stderr

UNUSABLE, NOT_NOW = 78, 75
"""Exit statuses of sysexits.h: EX_CONFIG, starting again will not help before somebody changed something; EX_TEMPFAIL,
it may."""

_BACKLOG = 10_000
"""Messages that may wait for a consumer whose process is ready: more is a log read again, or a service left behind."""

log = logging.getLogger(__name__)
Handler = Callable[[Msg], Awaitable[None]]
Problems = Callable[[], Awaitable[list[str]]]
"""Returns what keeps a process from its work; an empty list: nothing does."""


class Service(FastStream):
    """What FastStream runs, and what there is to say to whoever runs it: see `shared.process.health`."""

    def __init__(
        self,
        broker: NatsBroker,
        problems: Problems,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(broker, logger=None, after_startup=[start], on_shutdown=[stop])
        self.problems = problems


class Host:
    """What a service runs in: started once server and streams are found usable, stopped in the opposite order."""

    def __init__(self, url: str, service: str, access: Access = ANONYMOUS) -> None:
        self._declares = service if access.is_authenticated else None
        self._started = self._stopping = False
        self._consumers: list[PullConsumer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._beginnings: list[Callable[[Client], Awaitable[None]]] = []
        self._endings: list[Callable[[], Awaitable[None]]] = []
        self._warnings: list[Callable[[], None]] = []
        self.broker = ServiceBroker(
            url,
            service,
            access,
            on_error=self._on_error,
            on_closed=self._on_closed,
            on_reconnected=self._on_reconnected,
        )
        self.app = Service(self.broker, self._problems, self._start, self._stop)

    def on_started(self, beginning: Callable[[Client], Awaitable[None]]) -> None:
        """Have *beginning* called with the connection, once the server and its streams are found usable."""
        self._beginnings.append(beginning)

    def on_stopping(self, warning: Callable[[], None]) -> None:
        """Have *warning* called when the process is told to stop: before what is in hand is waited for."""
        self._warnings.append(warning)

    def on_stopped(self, ending: Callable[[], Awaitable[None]]) -> None:
        """Have *ending* called when nothing is worked on any more."""
        self._endings.append(ending)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have *work* done until the process stops. If it ends by an error, the process says that it does not work."""
        self._tasks.append(start_task(work))

    async def consume(
        self, client: Client, durable: str, handle: Handler, give_up: GiveUp, is_relevant: IsRelevant | None = None
    ) -> None:
        """Have every message of the durable consumer handled that *concerns* it; it is created if it is missing."""
        stream = await declare_consumer(client, durable)
        letters = DeadLetters(KeyValue(client.jetstream(), BUCKET))

        async def bury(message: Msg, reason: str) -> None:
            await letters.keep(message, durable, reason)
            buried.add(1, {"messaging.consumer.group.name": durable})

        consumer = PullConsumer(
            client, stream, durable, handle, give_up, ack_wait=ACK_WAIT_S, is_relevant=is_relevant, bury=bury
        )
        await self._hand_back(client, durable, letters, handle)
        await consumer.start()
        self._consumers.append(consumer)
        if instruments.is_on():
            self.background(measure_forever(consumer))

    async def _hand_back(self, client: Client, durable: str, letters: DeadLetters, handle: Handler) -> None:
        """Let an operator have a letter processed once more, by any one process of the service."""

        async def on_request(request: Msg) -> None:
            problem = await processed(request.data.decode(errors="replace"))
            await request.respond(json.dumps({"processed": problem is None, "problem": problem}).encode())

        async def processed(key: str) -> str | None:
            """What stood in the way; the letter stays then."""
            letter = await letters.find(key)
            if letter is None or letter.consumer != durable:
                return f"{durable} has no such letter"
            try:
                await handle(letter.message(client))
            except (Poison, Transient, Conflict) as error:
                return str(error)
            except Exception as error:
                log.exception("%s cannot be processed yet", key)
                return type(error).__name__
            await letters.drop(key)
            return None

        await client.subscribe(f"$KEYS.{durable}.hand-back", queue=durable, cb=on_request)

    async def _start(self) -> None:
        client = self.broker.connection
        require_server(client)
        await declare(client, self._declares)
        for beginning in self._beginnings:
            await beginning(client)
        tune_gc()
        self._started = True
        log.info("serving")

    async def _stop(self) -> None:
        self._stopping = True
        for warning in self._warnings:
            warning()
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        for task in self._tasks:
            task.cancel()
        # Awaited: what is subscribed to while the connection drains holds that up for half a minute.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for ending in self._endings:
            with contextlib.suppress(Exception):  # the connection may be gone: what an ending does may be lost
                await ending()

    async def _problems(self) -> list[str]:
        """What keeps it from its work: what is asked of it then waits, or goes to a sibling."""
        if self._stopping:
            return ["it was told to stop"]
        if not self._started:
            return ["the server and its streams have not been found usable yet"]
        if not self.broker.connection.is_connected:
            return ["it is not connected to NATS"]
        try:
            standing = await asyncio.gather(*(consumer.standing() for consumer in self._consumers))
        except Transient as error:
            return [str(error)]
        behind = [
            (c.durable, s.pending) for c, s in zip(self._consumers, standing, strict=True) if s.pending > _BACKLOG
        ]
        return [
            *failed_tasks(self._tasks),
            *(f"{durable}: {waiting} messages are yet to be heard" for durable, waiting in behind),
        ]

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats: %s", error or type(error).__name__)

    async def _on_reconnected(self) -> None:
        log.warning("nats: connected again")
        reconnects.add(1)
        for consumer in self._consumers:
            consumer.ask_anew()

    async def _on_closed(self) -> None:
        """A connection closed for good (its credentials were revoked, say) would leave a process that hears nothing."""
        if not self._stopping:
            log.error("nats: the connection was closed")
            self.app.exit()


class Application(Protocol):
    """A process that runs until it is told to stop, and knows whether it works."""

    @property
    def problems(self) -> Problems: ...

    async def run(self) -> None: ...


S = TypeVar("S", bound=ServiceSettings)


def run(service: str, kind: type[S], build: Callable[[S], Application], environment: MutableMapping[str, str]) -> None:
    """Runs what *build* makes of the settings in *environment* until it is told to stop.

    An unusable setting, server or stream is reported in one line, without a traceback.
    """
    try:
        log_to_stderr(service, _log_format(environment))
        settings = kind.read(environment)
        with _exporting(service, settings.telemetry):
            uvloop.run(_running(build(settings), settings.health))
    except* Unusable as errors:
        for error in errors.exceptions:
            for problem in str(error).splitlines():
                log.error("%s", problem)  # noqa: TRY400 - it is an answer to a person, who needs no traceback
        sys.exit(UNUSABLE)
    except* Transient as errors:
        log.error("not now: %s", errors.exceptions[0])  # noqa: TRY400 - as above
        sys.exit(NOT_NOW)


def _log_format(environment: MutableMapping[str, str]) -> Literal["text", "json"]:
    """Returns the format before the other settings are read, so that their problems are logged in it."""
    try:
        return LogSettings.read(environment).format
    except InvalidSettings:
        return "text"


def _exporting(service: str, telemetry: TelemetrySettings) -> AbstractContextManager[None]:
    if not telemetry.is_wanted:
        return contextlib.nullcontext()
    from shared.telemetry.exporter import export_telemetry  # noqa: PLC0415 - the SDK stays out of processes that export nothing

    return export_telemetry(service)


async def _running(application: Application, health: HealthSettings) -> None:
    if health.port is None:
        await application.run()
        return
    from shared.process.health import serve_probes  # noqa: PLC0415 - the HTTP server stays out of processes without probes

    async with serve_probes(health.host, health.port, application.problems):
        await application.run()
