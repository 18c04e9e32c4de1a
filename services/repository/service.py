"""The repository's wiring: a starlette application, a connection to NATS, an HTTP server.

It publishes nothing, holds no key, and creates no stream: until KEYS_VIEWS exists it is not ready.
"""

import asyncio
import logging
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.repository.documents import Documents
from services.repository.routes import application
from services.repository.settings import RepositorySettings
from shared.errors import Transient
from shared.process.broker import ServiceBroker
from shared.process.http_server import HttpServer, ServerConfig, listening_socket

MAX_CONNECTIONS: Final = 4096
"""Connections with requests at a time, about 20 kB each; further requests get the status 503."""
_OTHER_FILES: Final = 64
_REQUEST_TIMEOUT_S: Final = 10.0
_MAX_HEAD_BYTES: Final = 16 * 1024
_SHUTDOWN_S: Final = 5

log = logging.getLogger(__name__)


class Repository:
    """The repository as a process: it connects, serves, and stops on SIGTERM and SIGINT."""

    def __init__(self, settings: RepositorySettings) -> None:
        self._settings = settings
        self._documents = Documents()
        self._server = HttpServer(
            ServerConfig(
                application(self._documents),
                request_timeout_s=_REQUEST_TIMEOUT_S,
                max_requests=MAX_CONNECTIONS,
                max_head_bytes=_MAX_HEAD_BYTES,
                shutdown_s=_SHUTDOWN_S,
            )
        )
        self._broker = ServiceBroker(
            settings.nats.url,
            "repository",
            settings.nats.access,
            on_error=self._on_error,
            on_closed=self._on_closed,
            reconnect_wait_s=0.25,
        )

    async def run(self) -> None:
        _raise_file_limit()
        host, port = self._settings.host, self._settings.port
        with listening_socket(host, port, "HTTP_HOST and HTTP_PORT") as listening, self._stopped_by_signals():
            await self._broker.start()
            self._documents.connect(self._broker.connection)
            log.info("serving on http://%s:%d", host, port)
            try:
                await self._server.serve(sockets=[listening])
            finally:
                await self._broker.stop()

    async def problems(self) -> list[str]:
        """Tries to read a document, and returns the error of a failed read."""
        try:
            await self._documents.get("ready")
        except Transient as error:
            return [str(error)]
        return []

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Handles signals itself: uvicorn raises them again after shutdown, which would set the exit status."""
        loop, signals = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._server.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats: %s", error or type(error).__name__)

    async def _on_closed(self) -> None:
        """Ends the process if NATS closes the connection, for example because its credentials were revoked."""
        if not self._server.should_exit:
            log.error("nats: the connection was closed")
            self._server.stop()


def _raise_file_limit() -> None:
    """Allows as many open files as connections, within the system's hard limit: the default of 1,024 is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
