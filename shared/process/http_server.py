"""The HTTP server of a process: uvicorn in the process's own event loop, with limits for slow and numerous clients."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.errors import Unusable

logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a client's malformed request is not worth a line in our log
_MAX_SEND_S = 120.0
_BACKLOG = 1024


class ServerConfig(uvicorn.Config):
    """Configuration of `HttpServer`.

    *request_timeout_s*: the time that a client has to send the head of its next request. *max_connections*: further
    connections are closed at once. *max_requests*: further requests get the status 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        request_timeout_s: float,
        max_connections: int | None = None,
        max_requests: int | None = None,
        max_head_bytes: int,
        shutdown_s: int,
    ) -> None:
        super().__init__(
            app,
            http=TimedProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=max_requests,
            timeout_keep_alive=int(request_timeout_s),
            timeout_graceful_shutdown=shutdown_s,
            h11_max_incomplete_event_size=max_head_bytes,
        )
        self.request_timeout_s = request_timeout_s
        self.max_connections = max_connections


class TimedProtocol(H11Protocol):
    """Closes a connection whose next request does not arrive in time.

    uvicorn's own keep-alive timeout stops with the first octet, so a client that sends one octet a minute stays.
    """

    config: ServerConfig
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's annotation
        super().connection_made(transport)
        if self.config.max_connections is not None and len(self.connections) > self.config.max_connections:
            transport.abort()
        else:
            self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        self._restart_timer()
        super().on_response_complete()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.config.request_timeout_s, self._on_timeout)

    def _on_timeout(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()  # it first sends the rest of a response, if the client takes it
            self._timer = self.loop.call_later(_MAX_SEND_S, self.transport.abort)


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


def listening_socket(host: str, port: int, settings: str) -> socket.socket:
    """Returns a listening socket. Raises Unusable, which names the *settings* that say where to listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unusable(f"cannot listen on {host} port {port}: {error.strerror}; {settings} say where") from error
