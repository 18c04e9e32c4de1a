"""The NATS client of the suite: nats-py's `Client` with a parser that no message can stop, and fewer objects a message.

nats-py ends its read loop when it cannot decode a message. A client that may publish one command could so cut off the
service that reads it, and JetStream would deliver the message again after every reconnect. This client passes such a
message on in a readable form, so that the service rejects it like any other. Why, with figures: docs/adr/0017.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import count
from typing import Any, NamedTuple

import nats.aio.client
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from shared.errors import Unusable

SUPPORTED_NATS_PY = ((2, 16),)
"""Minor versions of nats-py whose overridden methods were compared with the ones below."""

INSTALLED_NATS_PY = version("nats-py")

_FLUSH_DELAY_TURNS = 4
"""Turns of the event loop during which published messages are gathered: a few microseconds when the loop is idle."""

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_LINE = b"NATS/1.0\r\n"
_MAX_CACHED_NAMES = 1000
_MSG_WORDS = 5
"""Words of a MSG line with a reply subject: MSG, subject, subscription id, reply, size. HMSG has one more."""


def require_supported_nats_py(installed: str) -> None:
    """Raises Unusable for a version of nats-py whose private methods may differ from the ones overridden here."""
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) not in SUPPORTED_NATS_PY:
        supported = ", ".join(".".join(map(str, minor)) for minor in SUPPORTED_NATS_PY)
        raise Unusable(
            f"nats-py {installed} is installed, but this client overrides private methods of nats-py {supported}"
        )


class Client(nats.aio.client.Client):
    """A nats-py client that reads any message, gathers writes, and can call a subscriber without queue or task.

    Raises Unusable for an unsupported version of nats-py.
    """

    def __init__(self, nats_py_version: str = INSTALLED_NATS_PY) -> None:
        require_supported_nats_py(nats_py_version)
        super().__init__()
        self._ps: MessageParser = MessageParser(self)
        self._inline: dict[int, Callable[[Msg], None]] = {}
        self._header_names: dict[str, str] = {}
        self._flush_scheduled = False
        self._reply_prefix = ""
        self._request_numbers = count(1)
        self._replies: dict[str, asyncio.Future[Msg]] = {}

    async def subscribe_inline(self, subject: str, on_message: Callable[[Msg], None]) -> Subscription:
        """Subscribes a function that the read loop calls with each message, in order, without queue or task."""

        async def on_queued_message(message: Msg) -> None:  # for messages before the subscription is in `_inline`
            on_message(message)

        subscription = await self.subscribe(
            subject, cb=on_queued_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._inline[subscription._id] = on_message  # noqa: SLF001 - nats-py does not expose the subscription id
        return subscription

    def ack_nowait(self, message: Msg) -> None:
        """Acknowledges *message* of a durable consumer without waiting; if the ack is lost, the server redelivers."""
        if self.is_closed:
            return
        command = b"PUB %b  0\r\n\r\n" % message.reply.encode()
        self.stats["out_msgs"] += 1
        self._pending.append(command)  # not `_send_command`, which waits when the buffer is full
        self._pending_data_size += len(command)
        self._schedule_flush()

    async def force_reconnect(self) -> None:
        """Reconnects to another server at once, for example when this one is cut off from the rest of its cluster."""
        if self.is_connected:
            self._abort_transport()
        await super().force_reconnect()

    async def deliver(self, line: MessageLine, header: bytes, body: bytes) -> None:
        """Passes a parsed message to its subscription; the parser calls this."""
        on_message = self._inline.get(line.sid)
        if on_message is None or line.sid not in self._subs:
            await self._process_msg(line.sid, line.subject, line.reply, body, header)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(body)
        headers = parse_headers(header) if header else None
        if header and headers is None:
            headers = await self._process_headers(header)
        on_message(self._build_message(line.sid, line.subject, line.reply, body, headers))

    # Overrides of private methods of nats-py.

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """Builds the message; bytes of the subject that are not UTF-8 are escaped instead of ending the read loop."""
        if not subject.isascii():
            subject = subject.decode(errors="backslashreplace").encode()
        message: Msg = super()._build_message(sid, subject, reply, data, headers)
        return message

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """Parses a header block; a malformed block counts as none instead of ending the read loop."""
        if headers and (parsed := parse_headers(headers)) is not None:
            return parsed
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return None

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._inline.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_op_err(self, e: Exception) -> None:
        """Aborts the connection before nats-py closes it: a close waits until the peer has read the rest."""
        if not (self.is_closed or self.is_reconnecting):
            self._abort_transport()
        await super()._process_op_err(e)

    def _abort_transport(self) -> None:
        if (writer := getattr(self._transport, "_io_writer", None)) is not None:
            writer.transport.abort()

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: Mapping[str, str] | None
    ) -> None:
        """Appends the message to the write buffer, which a few turns of the event loop later leaves with one write."""
        if not subject:
            raise nats.errors.BadSubjectError
        if headers is None:
            command = b"%b%b\r\n" % (f"PUB {subject} {reply} {payload_size}\r\n".encode(), payload)
        else:
            block = self._header_block(headers)
            size = len(block)
            line = f"HPUB {subject} {reply} {size} {size + payload_size}\r\n".encode()
            command = b"%b%b%b\r\n" % (line, block, payload)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(command)
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_after, _FLUSH_DELAY_TURNS)

    def _flush_after(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._flush_after, turns - 1)
            return
        self._flush_scheduled = False
        queue, flusher = self._flush_queue, self._flusher_task
        if not self.is_connected or queue is None:
            return  # nats-py writes the buffer after it has reconnected
        if flusher is None or flusher.done() or queue.full():
            asyncio.ensure_future(self._flush_pending())  # noqa: RUF006 - nats-py's own way out of these cases
        elif queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    def _header_block(self, headers: Mapping[str, str]) -> bytes:
        lines = ["NATS/1.0\r\n"]
        for name, value in headers.items():
            checked = self._header_names.get(name) or self._checked_name(name)
            if not checked:
                continue
            if not value.isprintable():  # a line end would begin another header, or a command to the server
                value = value.strip().replace("\r", " ").replace("\n", " ")  # noqa: PLW2901 - the value as it is sent
            lines.append(f"{checked}: {value.strip()}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode()

    def _checked_name(self, name: str) -> str:
        checked = name.strip()
        if checked and not _HEADER_NAME.fullmatch(checked):
            raise nats.errors.BadHeaderError(checked)
        if checked and len(self._header_names) < _MAX_CACHED_NAMES:
            self._header_names[name] = checked
        return checked

    async def _request_new_style(
        self,
        subject: str,
        payload: bytes,
        timeout: float = 1,  # noqa: ASYNC109 - nats-py's signature
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Publishes with a reply subject of its own and waits for the reply: one future and one timer per request."""
        if self.is_draining_pubs:
            raise nats.errors.ConnectionDrainingError
        if not self._reply_prefix:
            await self._subscribe_replies()
        loop = asyncio.get_running_loop()
        token, future = str(next(self._request_numbers)), loop.create_future()
        self._replies[token] = future
        timer = loop.call_later(timeout, _time_out, future)
        try:
            await self.publish(subject, payload, reply=self._reply_prefix + token, headers=headers)
            reply: Msg = await future
            return reply
        finally:
            timer.cancel()
            del self._replies[token]

    async def _subscribe_replies(self) -> None:
        prefix = f"{self.new_inbox()}."
        await self.subscribe_inline(f"{prefix}*", self._on_reply)
        self._reply_prefix = self._reply_prefix or prefix

    def _on_reply(self, message: Msg) -> None:
        future = self._replies.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)


async def flush_subscriptions(client: nats.aio.client.Client) -> None:
    """Waits until the server has processed all that *client* has sent, subscriptions above all.

    One `flush` of nats-py is not enough: its PING overtakes what the flusher task has not written yet, so the PONG may
    come before the server knows a subscription (seen as a 503 to a request). By the first PONG the flusher has run; the
    second one follows what it wrote.
    """
    await client.flush()
    await client.flush()


class MessageLine(NamedTuple):
    """The line that announces a message: `MSG` or `HMSG`."""

    sid: int
    subject: bytes
    reply: bytes
    header_size: int
    size: int


class MessageParser(Parser):
    """Parses whole messages without copying the rest of the buffer; leaves all other protocol lines to nats-py."""

    def __init__(self, client: Client) -> None:
        self._resets = 0
        self._needed_bytes = 0
        self._client = client
        super().__init__(client)

    def reset(self) -> None:
        super().reset()
        self._resets += 1
        self._needed_bytes = 0

    async def parse(self, data: bytes = b"") -> None:
        if (
            self.state != AWAITING_CONTROL_LINE
        ):  # nats-py's parser has read the line of a message and waits for its body
            await super().parse(data)
            return
        self.buf.extend(data)
        if len(self.buf) < self._needed_bytes:
            return
        buffer, self.buf, self._needed_bytes, resets = bytes(self.buf), bytearray(), 0, self._resets
        position = 0
        while (end := buffer.find(b"\r\n", position)) >= 0:
            if (line := _message_line(buffer[position:end])) is None:
                self.buf = bytearray(buffer[position:])
                await super().parse()
                return
            begin = end + 2
            if begin + line.size + 2 > len(buffer):
                self._needed_bytes = begin + line.size + 2 - position
                break
            middle = begin + line.header_size
            position = begin + line.size + 2
            await self._client.deliver(line, buffer[begin:middle], buffer[middle : position - 2])
            if self._resets != resets:  # the client has reconnected: the rest came over the old connection
                return
        self.buf = bytearray(buffer[position:])


def _message_line(text: bytes) -> MessageLine | None:
    """Parses the line of a message; None for any other line.

    The server separates words by one space. nats-py separates them by any white space, which a subject may contain: it
    takes a vertical tab in a subject for a protocol error and reconnects (docs/upstream/nats-py-vertical-tab.md).
    """
    words = text.split(b" ")
    has_headers = 1 if words[0] == b"HMSG" else 0
    has_reply = len(words) == _MSG_WORDS + has_headers
    if words[0] not in (b"MSG", b"HMSG") or not (has_reply or len(words) == _MSG_WORDS - 1 + has_headers):
        return None
    numbers = (words[2], words[-1], words[-1 - has_headers])
    if not all(each.isdigit() for each in numbers):
        return None
    sid, size, header_size = map(int, numbers)
    return MessageLine(sid, words[1], words[3] if has_reply else b"", header_size if has_headers else 0, size)


def parse_headers(block: bytes) -> dict[str, str] | None:
    """Parses a header block as the suite and the server write it; None for one that is left to nats-py's parser."""
    if not block.startswith(_HEADER_LINE) or not block.isascii():
        return None
    headers: dict[str, str] = {}
    for line in block[len(_HEADER_LINE) :].decode("ascii").split("\r\n"):
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or not value.isprintable() or not _is_token(name):
            return None
        headers[name] = value.strip()
    return headers or None


_tokens: set[str] = set()


def _is_token(name: str) -> bool:
    """True for a name without white space. Names are few, so those that were checked are cached."""
    if name in _tokens:
        return True
    if not name.isprintable() or " " in name:
        return False
    if len(_tokens) < _MAX_CACHED_NAMES:
        _tokens.add(name)
    return True


def _time_out(future: asyncio.Future[Msg]) -> None:
    if not future.done():
        future.set_exception(nats.errors.TimeoutError())
