"""FastStream's NATS broker with the connection settings that all services share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from faststream.nats import NatsBroker

from shared.nats.client import Client
from shared.nats.connection import MAX_OUTSTANDING_PINGS, PING_INTERVAL_S, Access, inbox_prefix, shuffled_servers

PENDING_BYTES = 32 * 1024 * 1024
"""Limit of nats-py's write buffer; its default of 2 MiB is reached by 256 commands in flight."""


class ServiceBroker(NatsBroker):
    """The broker of one service: it connects with the suite's own NATS client and never stops reconnecting."""

    def __init__(
        self,
        url: str,
        service: str,
        access: Access,
        *,
        on_error: Callable[[Exception], Awaitable[None]],
        on_closed: Callable[[], Awaitable[None]],
        on_reconnected: Callable[[], Awaitable[None]] | None = None,
        reconnect_wait_s: float = 1.0,
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
            logger=None,
        )

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
