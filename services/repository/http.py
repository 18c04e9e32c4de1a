"""HTTP as ASGI brings it: requests are read within limits of size and time, answers are sent."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from services.repository.responses import Answer, refusal
from services.repository.routes import Request, Routes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LONGEST_PATH: Final = 2048
LARGEST_BODY: Final = 64 * 1024
_PATIENCE: Final = 10.0


class _TooLarge(Exception):
    pass


class _Gone(Exception):
    pass


class Http:
    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except _Gone:
            return
        await _send(answer, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"]
        if len(scope["raw_path"]) > LONGEST_PATH:
            return refusal(HTTPStatus.REQUEST_URI_TOO_LONG, f"a path has at most {LONGEST_PATH} octets")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = b""
        if method == "POST" and method in self._routes.methods(path):
            try:
                body = await _body(headers.get("content-length", ""), receive)
            except _TooLarge:
                problem = f"a body has at most {LARGEST_BODY} octets"
                return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem, Connection="close")
            except TimeoutError:
                return refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not come", Connection="close")
        return await self._routes.respond(Request(method, path, headers, body))


async def _body(announced: str, receive: Receive) -> bytes:
    if announced.isdecimal() and int(announced) > LARGEST_BODY:
        raise _TooLarge
    body = bytearray()
    async with asyncio.timeout(_PATIENCE):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            if len(body) > LARGEST_BODY:
                raise _TooLarge
            if not message.get("more_body", False):
                return bytes(body)


async def _send(answer: Answer, send: Send) -> None:
    headers = {**answer.headers, "X-Content-Type-Options": "nosniff"}
    if answer.status is not HTTPStatus.NOT_MODIFIED:
        headers["Content-Length"] = str(len(answer.body))
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
