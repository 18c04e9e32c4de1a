"""A service as a process: a FastStream application with its connection, consumers, background tasks and readiness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import uvloop
from faststream import AckPolicy, FastStream
from nats.aio.msg import Msg
from pydantic import BaseModel

from shared.errors import Conflict, Poison, Transient, Unusable
from shared.messages.catalog import catalog
from shared.nats.client import Client
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import KeyValue
from shared.nats.streams import ACK_WAIT_S, declare, declare_consumer, require_server
from shared.process.broker import ServiceBroker
from shared.process.gc_tuning import tune_gc
from shared.process.metrics import dead_letters_stored, measure_forever, reconnects
from shared.process.middlewares import DeadLetterPolicy, GiveUp, RetryOptions, delivery_middlewares
from shared.process.settings import HealthSettings, InvalidSettings, LogSettings, ServiceSettings, TelemetrySettings
from shared.process.subscriber import IsRelevant, MiddlewareFactory, PullOptions, PullSubscriber, Source, as_received
from shared.process.tasks import failed_tasks, start_task
from shared.store.dead_letters import BUCKET, DeadLetters
from shared.telemetry import instruments
from shared.telemetry.logs import log_to_stderr

UNUSABLE, NOT_NOW = 78, 75
"""Exit statuses of sysexits.h. EX_CONFIG: a restart does not help; EX_TEMPFAIL: it may."""

MAX_BACKLOG = 10_000
"""Pending messages of a consumer whose process is ready; more is a replay, or a service that cannot keep up."""

log = logging.getLogger(__name__)
Handler = Callable[[Msg], Awaitable[None]]
Problems = Callable[[], Awaitable[list[str]]]
"""Returns what keeps a process from its work; an empty list: nothing does."""


class Service(FastStream):
    """A service's FastStream application, and what its health endpoint reports."""

    def __init__(
        self,
        broker: ServiceBroker,
        problems: Problems,
        on_serving: Callable[[], Awaitable[None]],
        on_stopping: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(broker, logger=None, after_startup=[on_serving], on_shutdown=[on_stopping])
        self.problems = problems


class Host:
    """Lifecycle of a service: server and streams are checked first, then consumers start; it stops in reverse order."""

    def __init__(
        self, url: str, service: str, access: Access = ANONYMOUS, *, retries: RetryOptions | None = None
    ) -> None:
        self._declares = service if access.is_authenticated else None
        self._retries = retries or RetryOptions()
        self._started = self._stopping = False
        self._dead_letters: DeadLetters | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._on_started: list[Callable[[Client], Awaitable[None]]] = []
        self._on_stopping: list[Callable[[], None]] = []
        self._on_stopped: list[Callable[[], Awaitable[None]]] = []
        self.broker = ServiceBroker(
            url,
            service,
            access,
            on_error=self._on_error,
            on_closed=self._on_closed,
            on_reconnected=self._on_reconnected,
            on_connected=self._prepare,
            on_subscribers_stopped=self._finish,
        )
        self.app = Service(self.broker, self._problems, self._on_serving, self._begin_to_stop)

    def on_started(self, callback: Callable[[Client], Awaitable[None]]) -> None:
        """Calls *callback* with the connection once the streams are checked, before consumers start."""
        self._on_started.append(callback)

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Calls *callback* when the process is told to stop, before it waits for in-flight work."""
        self._on_stopping.append(callback)

    def on_stopped(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Calls *callback* when nothing is in flight any more, before the connection is closed."""
        self._on_stopped.append(callback)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs *work* until the process stops. If it fails, the process reports that it is not ready."""
        self._tasks.append(start_task(work))

    def consume(
        self, durable: str, handle: Handler, give_up: GiveUp, is_relevant: IsRelevant | None = None
    ) -> PullSubscriber:
        """Has *handle* process the relevant messages of a durable consumer, which is created if it is missing."""
        subscriber = self.subscriber(durable, handle, give_up, is_relevant=is_relevant)
        subscriber(handle)
        return subscriber

    def subscriber(
        self,
        durable: str,
        replay: Handler,
        give_up: GiveUp,
        middlewares: Sequence[MiddlewareFactory] = (),
        *,
        is_relevant: IsRelevant | None = None,
        payloads: Mapping[str, type[BaseModel]] | None = None,
    ) -> PullSubscriber:
        """A subscriber of a durable consumer, as yet without handlers.

        *replay* processes a dead letter again; *middlewares* are inside those of every consumer.
        """
        consumer = catalog().consumers[durable]
        source = Source(
            stream=consumer.stream, durable=durable, subjects=consumer.filters, payloads=dict(payloads or {})
        )
        dead_letters = DeadLetterPolicy(give_up, partial(self._store_dead_letter, durable))
        outer = delivery_middlewares(durable, dead_letters, self._retries, observed=instruments.is_on())
        options = PullOptions(ack_wait_s=ACK_WAIT_S)
        self._replay_dead_letters(durable, replay)
        return self.broker.pull_subscriber(source, options, [*outer, *middlewares], is_relevant=is_relevant)

    async def _prepare(self, client: Client) -> None:
        require_server(client)
        await declare(client, self._declares)
        self._dead_letters = DeadLetters(KeyValue(client.jetstream(), BUCKET))
        for callback in self._on_started:
            await callback(client)
        for subscriber in self.broker.pull_subscribers:
            await declare_consumer(client, subscriber.durable)
            if instruments.is_on():
                self.background(measure_forever(subscriber))

    async def _on_serving(self) -> None:
        tune_gc()
        self._started = True
        log.info("serving")

    async def _begin_to_stop(self) -> None:
        self._stopping = True
        for callback in self._on_stopping:
            callback()

    async def _finish(self) -> None:
        for task in self._tasks:
            task.cancel()
        # Awaited: a task that is still subscribed delays the drain of the connection by half a minute.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for callback in self._on_stopped:
            with contextlib.suppress(Exception):  # the connection may be gone: what it would have saved is lost
                await callback()

    async def _store_dead_letter(self, durable: str, message: Msg, reason: str) -> None:
        assert self._dead_letters is not None
        await self._dead_letters.keep(message, durable, reason)
        dead_letters_stored.add(1, {"messaging.consumer.group.name": durable})

    def _replay_dead_letters(self, durable: str, handle: Handler) -> None:
        """Lets an operator have a dead letter processed again, by any one process of the service."""

        async def on_request(request: Msg) -> None:
            problem = await self._replay(durable, request.data.decode(errors="replace"), handle)
            await request.respond(json.dumps({"processed": problem is None, "problem": problem}).encode())

        subscriber = self.broker.subscriber(
            f"$KEYS.{durable}.hand-back",
            queue=durable,
            decoder=as_received,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,  # FastStream's reply has headers of its own
            include_in_schema=False,
        )
        subscriber(on_request)

    async def _replay(self, durable: str, key: str, handle: Handler) -> str | None:
        """Processes a dead letter and drops it. Returns what failed; the letter is kept then."""
        assert self._dead_letters is not None
        letter = await self._dead_letters.find(key)
        if letter is None or letter.consumer != durable:
            return f"{durable} has no such letter"
        try:
            await handle(letter.message(self.broker.connection))
        except (Poison, Transient, Conflict) as error:
            return str(error)
        except Exception as error:
            log.exception("%s cannot be processed yet", key)
            return type(error).__name__
        await self._dead_letters.drop(key)
        return None

    async def _problems(self) -> list[str]:
        """Lists what keeps the service from its work; its commands wait then, or another replica takes them."""
        if self._stopping:
            return ["it was told to stop"]
        if not self._started:
            return ["the server and its streams have not been found usable yet"]
        if not self.broker.connection.is_connected:
            return ["it is not connected to NATS"]
        subscribers = self.broker.pull_subscribers
        try:
            progress = await asyncio.gather(*(subscriber.progress() for subscriber in subscribers))
        except Transient as error:
            return [str(error)]
        backlogs = {s.durable: p.pending for s, p in zip(subscribers, progress, strict=True) if p.pending > MAX_BACKLOG}
        return [
            *failed_tasks(self._tasks),
            *(f"{durable}: {pending} messages are pending" for durable, pending in backlogs.items()),
        ]

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats: %s", error or type(error).__name__)

    async def _on_reconnected(self) -> None:
        log.warning("nats: connected again")
        reconnects.add(1)
        for subscriber in self.broker.pull_subscribers:
            subscriber.forget_requests()

    async def _on_closed(self) -> None:
        """Ends the process: nats-py never reconnects a closed connection (its credentials were revoked, say)."""
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
