"""FastStream's NATS broker as all services use it: its connection, and durable consumers as its subscribers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

from faststream._internal.broker import BrokerUsecase
from faststream._internal.broker.registrator import Registrator
from faststream.nats import NatsBroker

from shared.nats.client import Client
from shared.nats.connection import MAX_OUTSTANDING_PINGS, PING_INTERVAL_S, Access, inbox_prefix, shuffled_servers
from shared.process.subscriber import IsRelevant, MiddlewareFactory, PullOptions, PullSubscriber, Source

if TYPE_CHECKING:
    from types import TracebackType

    from faststream.nats.configs import NatsBrokerConfig

PENDING_BYTES = 32 * 1024 * 1024
"""Limit of nats-py's write buffer; its default of 2 MiB is reached by 256 commands in flight."""
GRACE_S = 10.0
"""Time that in-flight work has to finish when a service stops."""


class ServiceBroker(NatsBroker):
    """The broker of one service: it connects with the suite's own NATS client and never stops reconnecting.

    Its start is: connect, *on_connected*, subscribers. Its stop: subscribers, *on_subscribers_stopped*, drain.
    """

    def __init__(
        self,
        url: str,
        service: str,
        access: Access,
        *,
        on_error: Callable[[Exception], Awaitable[None]] | None = None,
        on_closed: Callable[[], Awaitable[None]] | None = None,
        on_reconnected: Callable[[], Awaitable[None]] | None = None,
        on_connected: Callable[[Client], Awaitable[None]] | None = None,
        on_subscribers_stopped: Callable[[], Awaitable[None]] | None = None,
        reconnect_wait_s: float = 1.0,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(
            shuffled_servers(url),
            dont_randomize=True,
            name=f"cim-keys-{service}",
            inbox_prefix=inbox_prefix(service),
            security=access.security,
            max_reconnect_attempts=-1,
            reconnect_time_wait=reconnect_wait_s,  # type: ignore[arg-type] # nats-py sleeps so long; FastStream annotates an int
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=MAX_OUTSTANDING_PINGS,
            pending_size=PENDING_BYTES,
            error_cb=on_error,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            graceful_timeout=grace_s,
            apply_types=False,  # injection per message costs more than the rest of the pipeline (docs/adr/0030)
            logger=None,
        )
        self._on_connected = on_connected
        self._on_subscribers_stopped = on_subscribers_stopped

    def pull_subscriber(
        self,
        source: Source,
        options: PullOptions,
        middlewares: Sequence[MiddlewareFactory] = (),
        *,
        is_relevant: IsRelevant | None = None,
        on_silence: Callable[[Client], Awaitable[None]] = Client.force_reconnect,
    ) -> PullSubscriber:
        """Registers a durable consumer; call the result with its handler."""
        subscriber = PullSubscriber(
            cast("NatsBrokerConfig", self.config),
            source,
            options,
            middlewares,
            is_relevant=is_relevant,
            on_silence=on_silence,
        )
        Registrator.subscriber(self, subscriber)
        return subscriber

    @property
    def pull_subscribers(self) -> list[PullSubscriber]:
        return [each for each in self.subscribers if isinstance(each, PullSubscriber)]

    @property
    def connection(self) -> Client:
        """The connected client."""
        client = super().connection
        assert isinstance(client, Client)
        return client

    async def _connect(self) -> Client:
        """Connects the suite's client; FastStream's own method calls `nats.connect` and takes no client class."""
        client = Client()
        await client.connect(**self._connection_kwargs)
        self.config.connect(client)
        return client

    async def start(self) -> None:
        await self.connect()
        if self._on_connected is not None:
            await self._on_connected(self.connection)
        await super().start()

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        await BrokerUsecase.stop(self, exc_type, exc_val, exc_tb)
        if self._on_subscribers_stopped is not None:
            await self._on_subscribers_stopped()
        await super().stop(exc_type, exc_val, exc_tb)
