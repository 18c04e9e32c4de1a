"""The repository, put together: FastStream's ASGI application, a connection to NATS, an HTTP server.

It publishes nothing, holds no key, and creates no stream: where KEYS_VIEWS is missing it is not ready, and waits.
"""

import logging
import socket

from faststream.asgi import AsgiFastStream

from services.repository.documents import Documents
from services.repository.http import Http, Receive, Scope, Send
from services.repository.routes import Routes
from services.repository.server import Server, make_room, server_of
from services.repository.settings import RepositorySettings
from shared.errors import Transient, Unusable
from shared.process.broker import ServiceBroker

log = logging.getLogger(__name__)


class Repository(AsgiFastStream):
    def __init__(self, settings: RepositorySettings) -> None:
        self._settings = settings
        self._documents = Documents()
        self._http = Http(Routes(self._documents))
        self._serving: Server | None = None
        self._broker = ServiceBroker(
            settings.nats.url,
            "repository",
            settings.nats.access,
            on_error=self._on_error,
            on_closed=self._on_closed,
            reconnect_wait_s=0.25,
        )
        super().__init__(self._broker, logger=None, after_startup=[self._connected])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def run(self, log_level: int = logging.ERROR, run_extra_options: object = None) -> None:  # noqa: ARG002 - FastStream's signature; the settings say it all
        logging.getLogger("uvicorn").setLevel(log_level)  # a stranger's rubbish is no line in our log
        make_room()
        self._serving = server_of(self)
        with _listening(self._settings.host, self._settings.port) as listening:
            await self._serving.serve(sockets=[listening])

    async def problems(self) -> list[str]:
        """What keeps it from reading a document: one is read."""
        try:
            await self._documents.get("ready")
        except Transient as error:
            return [str(error)]
        return []

    async def _connected(self) -> None:
        self._documents.connect(self._broker.connection)
        log.info("serving on http://%s:%d", self._settings.host, self._settings.port)

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats: %s", error or type(error).__name__)

    async def _on_closed(self) -> None:
        """A connection closed for good (its credentials were revoked, say) would leave a process that knows nothing."""
        if self._serving is not None and not self._serving.should_exit:
            log.error("nats: the connection was closed")
            self._serving.stop()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise Unusable(
            f"cannot listen on {host} port {port}: {error.strerror}; HTTP_HOST and HTTP_PORT say where"
        ) from error
