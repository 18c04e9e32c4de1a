"""The HTTP server: uvicorn, told when to lose patience with a client and to end as our other processes do."""

import asyncio
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST: Final = 4096
"""Connections at a time, some 20 kB each; whoever comes beyond them is told 503."""
_OTHER_FILES: Final = 64
_PATIENCE: Final = 10.0
_SLOWEST: Final = 120.0


class PatientProtocol(H11Protocol):
    """Ends a connection whose next request does not come in time. Of a slow client it costs nobody else anything.

    uvicorn itself loses patience only with who says nothing after a request, not with who sends one drop by drop.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_PATIENCE, self._lose_patience)

    def _lose_patience(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()  # what is still to be sent is sent, if it is taken
            self._deadline = self.loop.call_later(_SLOWEST, self.transport.abort)


class Server(uvicorn.Server):
    """Ends with status 0 when it is told to; uvicorn would have the signal kill it after all is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        self.should_exit = True


def make_room() -> None:
    """As many open files as connections, where the system allows it: its default of 1,024 is soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def server_of(app: Any) -> Server:
    """*app*: an ASGI application, whose lifespan is that of the server."""
    return Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            interface="asgi3",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=MOST,
            timeout_keep_alive=int(_PATIENCE),
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )
