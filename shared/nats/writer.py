"""What is sent to the server: many messages with one write, and requests that cost a future and a timer each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TURNS = 4
"""For so many turns of the event loop more is gathered: a few microseconds where there is nothing else to do."""
_MOST_NAMES = 1000
_NO_RESPONDERS = "503"


class Writing:
    """In nats-py's place: a message joins those that wait, and the flusher is woken a few turns of the loop later.

    So whatever is published within these turns leaves with one system call.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._called = False
        self._names: dict[str, str] = {}

    async def send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: Mapping[str, str] | None
    ) -> None:
        if not subject:
            raise nats.errors.BadSubjectError
        client = self._client
        if headers is None:
            command = b"%b%b\r\n" % (f"PUB {subject} {reply} {payload_size}\r\n".encode(), payload)
        else:
            block = self._block(headers)
            size = len(block)
            line = f"HPUB {subject} {reply} {size} {size + payload_size}\r\n".encode()
            command = b"%b%b%b\r\n" % (line, block, payload)
        client.stats["out_msgs"] += 1
        client.stats["out_bytes"] += payload_size
        await client._send_command(command)  # noqa: SLF001 - it waits where too much waits already
        self._call()

    def put(self, subject: str, payload: bytes) -> None:
        """Publish what is small and may be lost, without ever waiting."""
        client, command = self._client, b"PUB %b  %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)
        client.stats["out_msgs"] += 1
        client.stats["out_bytes"] += len(payload)
        client._pending.append(command)  # noqa: SLF001 - nats-py's own way waits where too much waits already
        client._pending_data_size += len(command)  # noqa: SLF001 - as above
        self._call()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._flush_in, _TURNS)

    def _flush_in(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._flush_in, turns - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        self._called = False
        client, queue = self._client, self._client._flush_queue  # noqa: SLF001 - what nats-py's flusher listens to
        flusher = client._flusher_task  # noqa: SLF001 - as above
        if not client.is_connected or queue is None:
            return  # nats-py sends what waits as soon as it is connected again
        if flusher is None or flusher.done() or queue.full():
            asyncio.ensure_future(client._flush_pending())  # noqa: RUF006, SLF001 - nats-py knows what to do then
        elif queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    def _block(self, headers: Mapping[str, str]) -> bytes:
        lines = ["NATS/1.0\r\n"]
        for name, value in headers.items():
            known = self._names.get(name) or self._checked(name)
            if not known:
                continue
            if not value.isprintable():  # a line's end in it would be another header, or a command to the server
                value = value.strip().replace("\r", " ").replace("\n", " ")  # noqa: PLW2901 - the same, as it is sent
            lines.append(f"{known}: {value.strip()}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode()

    def _checked(self, name: str) -> str:
        known = name.strip()
        if known and not _NAME.fullmatch(known):
            raise nats.errors.BadHeaderError(known)
        if known and len(self._names) < _MOST_NAMES:
            self._names[name] = known
        return known


class Requests:
    """In the place of nats-py's own, which makes a task and six objects more of each request."""

    def __init__(
        self,
        client: Client,
        otherwise: Callable[..., Awaitable[Msg]],
        listen: Callable[[Client, str, Callable[[Msg], None]], Awaitable[Any]],
    ) -> None:
        self._client = client
        self._otherwise = otherwise
        self._listen = listen
        self._inbox = ""
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109 - the signature is nats-py's
        old_style: bool = False,  # noqa: FBT001, FBT002 - as above
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Publish with a reply subject of its own, and wait for what comes there."""
        client = self._client
        if old_style:
            return await self._otherwise(subject, payload, timeout=timeout, old_style=True, headers=headers)
        if client.is_draining_pubs:
            raise nats.errors.ConnectionDrainingError
        if not self._inbox:
            await self._begin()
        loop = asyncio.get_running_loop()
        token, future = str(next(self._numbers)), loop.create_future()
        self._waiting[token] = future
        timer = loop.call_later(timeout, _give_up, future)
        try:
            await client.publish(subject, payload, reply=self._inbox + token, headers=headers)
            message: Msg = await future
        finally:
            timer.cancel()
            del self._waiting[token]
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            raise nats.errors.NoRespondersError
        return message

    async def _begin(self) -> None:
        inbox = f"{self._client.new_inbox()}."
        await self._listen(self._client, f"{inbox}*", self._hear)
        self._inbox = self._inbox or inbox

    def _hear(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)


def _give_up(future: asyncio.Future[Msg]) -> None:
    if not future.done():
        future.set_exception(nats.errors.TimeoutError())
