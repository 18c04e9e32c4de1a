"""A durable JetStream consumer as a FastStream subscriber that pulls continuously.

FastStream's own pull subscriber fetches batch by batch, sends no `in_progress` and hands nothing back on stop. This one
has at most `max_in_flight` messages in flight and requests more as they finish (docs/adr/0005, docs/adr/0030).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import nats.errors
from faststream import AckPolicy, BaseMiddleware
from faststream._internal.endpoint.subscriber.call_item import CallsCollection, HandlerItem
from faststream.exceptions import SubscriberNotFound
from faststream.nats.message import NatsMessage
from faststream.nats.subscriber.config import NatsSubscriberConfig, NatsSubscriberSpecificationConfig
from faststream.nats.subscriber.specification import NatsSubscriberSpecification
from faststream.nats.subscriber.usecases.basic import DefaultSubscriber
from faststream.response import Response, ensure_response
from faststream.specification.asyncapi.utils import resolve_payloads
from faststream.specification.schema import Message as MessageSpec
from faststream.specification.schema import Operation, SubscriberSpec
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig
from pydantic import BaseModel

from shared.errors import Transient
from shared.messages.headers import NatsHeader
from shared.nats.client import Client

if TYPE_CHECKING:
    from faststream._internal.types import AsyncCallable
    from faststream.message import StreamMessage
    from faststream.nats.configs import NatsBrokerConfig

IsRelevant = Callable[[Msg], bool]
Process = Callable[[NatsMessage], Awaitable[Any]]
MiddlewareFactory = Callable[..., BaseMiddleware[Any, Any]]

MAX_IN_FLIGHT = 256
PULL_EXPIRES_S = 30.0
HEARTBEAT_S, REPULL_AFTER_S, RECONNECT_AFTER_S = 1.0, 3.5, 7.0
"""Interval of the server's idle heartbeats; silence after which the subscriber pulls again, and leaves the server."""
_INFO_TIMEOUT_S, _FLUSH_TIMEOUT_S = 2.0, 2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """Limits and intervals of a continuous pull; *ack_wait_s* is the consumer's own."""

    ack_wait_s: float
    max_in_flight: int = MAX_IN_FLIGHT
    expires_s: float = PULL_EXPIRES_S
    heartbeat_s: float = HEARTBEAT_S
    repull_after_s: float = REPULL_AFTER_S
    reconnect_after_s: float = RECONNECT_AFTER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The durable consumer to read. *payloads*: the model of each subject, for AsyncAPI."""

    stream: str
    durable: str
    subjects: tuple[str, ...] = ()
    payloads: Mapping[str, type[BaseModel]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConsumerProgress:
    """State of a durable consumer on the server, over all its readers."""

    pending: int
    ack_pending: int
    redelivered: int


class PullSubscriber(DefaultSubscriber[Msg]):
    """Runs FastStream's middlewares and handler for each message, in a task of its own.

    Messages that are not relevant are acknowledged on receipt and cost no task: a reader needs a small part of the log.
    """

    def __init__(
        self,
        broker_config: NatsBrokerConfig,
        source: Source,
        options: PullOptions,
        middlewares: Sequence[MiddlewareFactory] = (),
        *,
        is_relevant: IsRelevant | None = None,
        on_silence: Callable[[Client], Awaitable[None]] = Client.force_reconnect,
    ) -> None:
        config = NatsSubscriberConfig(
            subject="",
            sub_config=ConsumerConfig(durable_name=source.durable, filter_subjects=list(source.subjects)),
            no_reply=True,
            _ack_policy=AckPolicy.MANUAL,
            _outer_config=broker_config,
        )
        config.parser, config.decoder = _parse, as_received
        calls: CallsCollection[Msg] = CallsCollection()
        super().__init__(config, _Specification.of(broker_config, calls, source), calls)
        self.durable = source.durable
        self._stream = source.stream
        self._options = options
        self._middlewares = tuple(middlewares)
        self._is_relevant = is_relevant
        self._on_silence = on_silence
        self._scopes: list[Callable[..., Awaitable[Any]]] = []
        self._pipelines: list[tuple[HandlerItem[Msg], AsyncCallable, Process]] = []
        self._unhandled: Process = self._raise_not_found
        self._min_batch = max(options.max_in_flight // 2, 1)
        self._in_flight: dict[asyncio.Task[Any], Msg] = {}
        self._requested = 0
        self._stopping = False
        self._upkeep: asyncio.Task[None] | None = None
        self._client: Client
        self._inbox = ""
        self._last_received_at = 0.0
        self._has_repulled = False

    def _build_fastdepends_model(self) -> None:
        """Composes the pipeline of each handler, once. FastStream calls it before messages come, in its tests too."""
        super()._build_fastdepends_model()
        factories = (*self._broker_middlewares, *self._middlewares)
        self._scopes = [factory(None, context=self._outer_config.context).consume_scope for factory in factories]
        self._pipelines = [
            (call, call.decoder or as_received, self._around(partial(call.call, _extra_middlewares=())))
            for call in self.calls
        ]
        self._unhandled = self._around(self._raise_not_found)

    def _around(self, process: Process) -> Process:
        """Puts the middlewares around *process*."""
        return reduce(lambda inner, scope: partial(scope, inner), reversed(self._scopes), process)

    async def process_message(self, msg: Msg) -> Response:
        """Finds the handler, then runs the middlewares' `consume_scope` and the handler.

        FastStream's own method makes new middlewares, context scopes and an exit stack for each message, which costs
        more than all else that the consumer does (docs/adr/0030). Other hooks (`on_receive`, …) are not called.
        """
        message = await _parse(msg)
        for call, decoder, process in self._pipelines:
            if await call.filter(message):
                message.set_decoder(decoder)
                return ensure_response(await process(message))
        return ensure_response(await self._unhandled(message))

    async def _raise_not_found(self, message: NatsMessage) -> None:
        raise SubscriberNotFound(f"{self.durable} has no handler for {message.raw_message.subject}")

    async def _create_subscription(self) -> None:
        """Starts to pull. FastStream calls it at the end of `start`."""
        self.lock = contextlib.nullcontext()  # `stop` waits for the tasks in flight, which have the messages too
        assert isinstance(self.connection, Client)
        self._client = self.connection
        self._inbox = self._client.new_inbox()
        self.subscription = await self._client.subscribe_inline(self._inbox, self._on_message)
        self._upkeep = asyncio.create_task(self._keep_up(), name=f"{self.durable}-upkeep")
        self.running = True  # `consume` ignores messages before
        await self._pull()

    async def stop(self) -> None:
        """Stops fetching; in-flight work has the broker's `graceful_timeout`, the rest is nak'ed."""
        self._stopping = True
        if self.subscription is None:
            return
        with contextlib.suppress(nats.errors.Error):
            await self.subscription.unsubscribe()
        self.subscription = None
        if self._in_flight:
            _, unfinished = await asyncio.wait(self._in_flight, timeout=self._outer_config.graceful_timeout)
            for task, message in [(task, self._in_flight[task]) for task in unfinished]:
                task.cancel()
                with contextlib.suppress(nats.errors.Error):
                    await message.nak()
        if self._upkeep is not None:
            self._upkeep.cancel()
        await super().stop()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._client.flush(timeout=_FLUSH_TIMEOUT_S)

    async def get_one(self, *, timeout: float = 5) -> NatsMessage | None:  # noqa: ASYNC109 - FastStream's signature
        raise NotImplementedError("a durable consumer is read by its handler")

    def __aiter__(self) -> AsyncIterator[NatsMessage]:
        raise NotImplementedError("a durable consumer is read by its handler")

    async def progress(self) -> ConsumerProgress:
        """Reads the consumer's state. Raises Transient if the server does not answer or has no such consumer."""
        subject = f"$JS.API.CONSUMER.INFO.{self._stream}.{self.durable}"
        try:
            answer = json.loads((await self._client.request(subject, b"", timeout=_INFO_TIMEOUT_S)).data)
        except (nats.errors.Error, TimeoutError) as error:
            raise Transient(f"{self.durable}: the server did not report its state ({type(error).__name__})") from error
        if "error" in answer:
            raise Transient(f"{self.durable}: {answer['error'].get('description')}")
        return ConsumerProgress(answer["num_pending"], answer["num_ack_pending"], answer["num_redelivered"])

    def forget_requests(self) -> None:
        """Resets what was requested: a server does not know pull requests from before a reconnect."""
        self._requested, self._has_repulled = 0, False
        self._last_received_at = asyncio.get_running_loop().time()

    def _on_message(self, message: Msg) -> None:
        self._last_received_at, self._has_repulled = asyncio.get_running_loop().time(), False
        if message.headers and "Status" in message.headers and not message.reply:
            self._on_status(message.headers)
            return
        self._requested -= 1
        if self._is_relevant is not None and not self._is_relevant(message):
            self._client.ack_nowait(message)
            self._pull_if_worthwhile()
            return
        task = asyncio.create_task(self.consume(message))
        self._in_flight[task] = message
        task.add_done_callback(self._on_done)

    def _on_status(self, status: Mapping[str, str]) -> None:
        """Status 100 is a heartbeat, 408 an expired request; after any other the upkeep pulls again."""
        if status["Status"].startswith("100"):
            return
        self._requested -= int(status.get(NatsHeader.PENDING_MESSAGES, self._requested))
        if status["Status"].startswith("408"):
            asyncio.ensure_future(self._pull())  # noqa: RUF006 - it awaits one write to a buffer and cannot fail

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        del self._in_flight[task]
        self._pull_if_worthwhile()

    def _pull_if_worthwhile(self) -> None:
        if not self._stopping and self._capacity() >= self._min_batch:
            asyncio.ensure_future(self._pull())  # noqa: RUF006 - it awaits one write to a buffer and cannot fail

    def _capacity(self) -> int:
        return self._options.max_in_flight - len(self._in_flight) - max(self._requested, 0)

    async def _pull(self) -> None:
        """Requests as many messages as there is capacity for; less than half the limit is not worth a request."""
        capacity = self._capacity()
        if capacity < self._min_batch or self._stopping or self._client.is_closed:
            return
        self._requested = max(self._requested, 0) + capacity
        request = {
            "batch": capacity,
            "expires": int(self._options.expires_s * 1e9),
            "idle_heartbeat": int(self._options.heartbeat_s * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.durable}"
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)

    async def _keep_up(self) -> None:
        """Sends `in_progress` for what is still in flight, and pulls again when a request seems to be lost."""
        loop = asyncio.get_running_loop()
        self._last_received_at = loop.time()
        while True:
            in_flight = list(self._in_flight.items())
            await asyncio.sleep(self._options.ack_wait_s / 3)
            for task, message in in_flight:
                if not task.done():
                    with contextlib.suppress(nats.errors.Error):
                        await message.in_progress()
            await self._check_silence(loop.time() - self._last_received_at)
            await self._pull()

    async def _check_silence(self, silence_s: float) -> None:
        """A server owes heartbeats only for an open request: none is open while all is in flight, or on stop."""
        if self._stopping or not (self._requested > 0 or self._has_repulled):
            self._last_received_at += silence_s
        elif silence_s > self._options.reconnect_after_s:
            log.warning("%s: the server is silent; connecting to another one", self.durable)
            self.forget_requests()
            await self._on_silence(self._client)
        elif silence_s > self._options.repull_after_s and not self._has_repulled:
            self._requested, self._has_repulled = 0, True


async def _parse(message: Msg) -> NatsMessage:
    """Unlike FastStream's parser, obeys no `reply_to` header of a stranger, and draws no correlation id per message."""
    return NatsMessage(
        message, message.data, headers=message.headers, correlation_id=message.reply, message_id=message.reply
    )


async def as_received(message: StreamMessage[Msg]) -> Msg:
    """The default decoder: the handler gets nats-py's message."""
    return message.raw_message


class _Specification(NatsSubscriberSpecification):
    """AsyncAPI of a subscriber: one channel per subject, with the model of that subject as payload."""

    payloads: Mapping[str, type[BaseModel]]

    @classmethod
    def of(cls, broker_config: NatsBrokerConfig, calls: CallsCollection[Msg], source: Source) -> _Specification:
        subjects = sorted(source.payloads) or list(source.subjects)
        config = NatsSubscriberSpecificationConfig(
            subject="",
            queue=None,
            filter_subjects=subjects,
            title_=source.durable,
            description_=None,
            include_in_schema=bool(source.payloads),
        )
        self = cls(broker_config, config, calls)
        self.payloads = source.payloads
        return self

    def get_schema(self) -> dict[str, SubscriberSpec]:
        return {
            subject: SubscriberSpec(
                address=subject,
                description=kind.__doc__,
                operation=Operation(
                    message=MessageSpec(
                        title=f"{subject}:Message",
                        payload=resolve_payloads([(kind.model_json_schema(), kind.__name__)]),
                    ),
                    bindings=None,
                ),
                bindings=None,
            )
            for subject, kind in sorted(self.payloads.items())
        }
