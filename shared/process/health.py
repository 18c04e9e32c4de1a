"""Probes of a process over HTTP: `/livez` if its event loop runs, `/readyz` if the process can do its work.

Imported only where `HEALTH_PORT` is set (docs/adr/0025).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.process.http_server import HttpServer, ServerConfig, listening_socket

log = logging.getLogger(__name__)
_REQUEST_TIMEOUT_S = 5.0
_MAX_HEAD_BYTES = 8192
_MAX_CONNECTIONS = 100
"""More would use up the open files that the work needs."""


@asynccontextmanager
async def serve_probes(host: str, port: int, problems: Callable[[], Awaitable[list[str]]]) -> AsyncIterator[None]:
    """Answers probes while the body runs; *problems* returns what keeps the process from its work.

    Raises Unusable if the port is taken.
    """
    config = ServerConfig(
        probe_app(problems),
        request_timeout_s=_REQUEST_TIMEOUT_S,
        max_connections=_MAX_CONNECTIONS,
        max_head_bytes=_MAX_HEAD_BYTES,
        shutdown_s=1,
    )
    server = HttpServer(config)
    with listening_socket(host, port, "HEALTH_HOST and HEALTH_PORT") as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield
        finally:
            server.stop()
            await serving


def probe_app(problems: Callable[[], Awaitable[list[str]]]) -> Starlette:
    """Returns the application; its probes share one run of *problems*, which asks the NATS server."""

    check: asyncio.Task[list[str]] | None = None

    async def find() -> list[str]:
        try:
            return await problems()
        except Exception as error:
            log.exception("readiness cannot be determined")
            return [f"readiness cannot be determined ({type(error).__name__})"]

    async def shared_check() -> list[str]:
        nonlocal check
        if check is None or check.done():
            check = asyncio.create_task(find())
        return await asyncio.shield(check)

    async def livez(_: Request) -> Response:
        return _text(HTTPStatus.OK, "live")

    async def readyz(_: Request) -> Response:
        found = await shared_check()
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(found)) if found else _text(HTTPStatus.OK, "ready")

    app = Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz)], exception_handlers={HTTPException: _on_http_error}
    )
    app.router.redirect_slashes = False
    return app


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "there are /livez and /readyz" if error.status_code == HTTPStatus.NOT_FOUND else "GET /livez or GET /readyz"
    response = _text(error.status_code, text)
    response.headers.update(error.headers or {})
    return response


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store", "Connection": "close"})
