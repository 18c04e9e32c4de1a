"""What a process tells whoever runs it, over HTTP: GET /livez, whether its loop turns; GET /readyz, whether it works.

Two fixed answers to one request each, so nothing here is worth a web server in every image (docs/adr/0025).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from shared.errors import Unusable
from shared.process.settings import HealthSettings

Problems = Callable[[], Awaitable[list[str]]]
"""What stands between the process and its work; nothing: it works."""

log = logging.getLogger(__name__)
_PATIENCE = 5.0
_LONGEST_REQUEST = 8192
_MOST_CONNECTIONS = 100
"""At a time; more would be at the cost of the files that the work needs."""


@asynccontextmanager
async def answering(health: HealthSettings, problems: Problems) -> AsyncIterator[None]:
    """Answers probes, if a port is set, for as long as the body runs. Raises Unusable where nobody can listen."""
    if health.port is None:
        yield
        return
    try:
        server = await asyncio.start_server(_answer_with(problems), health.host, health.port, limit=_LONGEST_REQUEST)
    except OSError as error:
        where = f"{health.host} port {health.port}"
        raise Unusable(f"cannot listen on {where}: {error.strerror}; HEALTH_HOST and HEALTH_PORT say where") from error
    try:
        yield
    finally:
        server.close()


def _answer_with(problems: Problems) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    looking, open_now = _Looking(problems), set[asyncio.StreamWriter]()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_now) >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        open_now.add(writer)
        try:
            with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_PATIENCE):
                    status, text = await _answer(await reader.readuntil(b"\r\n\r\n"), looking.problems)
                    writer.write(_written(status, text))
                    await writer.drain()
        finally:
            open_now.discard(writer)
            writer.close()

    return on_connection


class _Looking:
    """However many ask whether the process works, it looks once at a time: each look asks the server something."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._look: asyncio.Task[list[str]] | None = None

    async def problems(self) -> list[str]:
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._found())
        return await asyncio.shield(self._look)

    async def _found(self) -> list[str]:
        try:
            return await self._problems()
        except Exception as error:
            log.exception("whether it works cannot be said")
            return [f"whether it works cannot be said ({type(error).__name__})"]


async def _answer(request: bytes, problems: Problems) -> tuple[HTTPStatus, str]:
    match request.partition(b"\r\n")[0].split(b" "):
        case [b"GET", b"/livez", _]:
            return HTTPStatus.OK, "live"
        case [b"GET", b"/readyz", _]:
            found = await problems()
            return (HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(found)) if found else (HTTPStatus.OK, "ready")
        case [b"GET", _, _]:
            return HTTPStatus.NOT_FOUND, "there are /livez and /readyz"
        case _:
            return HTTPStatus.BAD_REQUEST, "GET /livez or GET /readyz"


def _written(status: HTTPStatus, text: str) -> bytes:
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body
