"""What the server sends, taken apart: whole messages here and quickly, all else by nats-py's own parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_MOST_NAMES = 1000
_MOST_WORDS = 5
"""Of a line MSG: itself, subject, number of the subscription, where to reply, size. HMSG has one more."""
_LINE = b"NATS/1.0\r\n"


class _Line(NamedTuple):
    number: int
    subject: bytes
    reply: bytes
    header_size: int
    size: int


class QuickParser(Parser):
    """*heard*: who is told at once, by the number of the subscription; everybody else is told as nats-py does it."""

    def __init__(self, client: Client, before: Parser) -> None:
        self._resets = 0
        self._enough = 0
        super().__init__(client)
        self.heard: dict[int, Callable[[Msg], None]] = {}
        self.buf, self.state, self.needed = before.buf, before.state, before.needed
        self.header_needed, self.msg_arg = before.header_needed, before.msg_arg

    def reset(self) -> None:
        super().reset()
        self._resets += 1
        self._enough = 0

    async def parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:  # nats-py was in the middle of a message when this took over
            await super().parse(data)
            return
        self.buf.extend(data)
        if len(self.buf) < self._enough:
            return
        buffer, self.buf, self._enough, resets = bytes(self.buf), bytearray(), 0, self._resets
        position = 0
        while (end := buffer.find(b"\r\n", position)) >= 0:
            if (line := _line_in(buffer[position:end])) is None:
                self.buf = bytearray(buffer[position:])
                await super().parse()
                return
            begin = end + 2
            if begin + line.size + 2 > len(buffer):
                self._enough = begin + line.size + 2 - position
                break
            middle = begin + line.header_size
            header, body = buffer[begin:middle], buffer[middle : begin + line.size]
            position = begin + line.size + 2
            await self._take(line.number, line.subject, line.reply, body, header)
            if self._resets != resets:  # connected anew meanwhile: what is left came over a connection that is gone
                return
        self.buf = bytearray(buffer[position:])

    async def _take(self, number: int, subject: bytes, reply: bytes, body: bytes, header: bytes) -> None:
        hear = self.heard.get(number)
        if hear is None or number not in self.nc._subs:  # noqa: SLF001 - where nats-py keeps its subscriptions
            await self.nc._process_msg(number, subject, reply, body, header or None)  # noqa: SLF001 - as above
            return
        statistics = self.nc.stats
        statistics["in_msgs"] += 1
        statistics["in_bytes"] += len(body)
        headers = headers_in(header) if header else None
        if header and headers is None:
            headers = await self.nc._process_headers(header)  # noqa: SLF001 - a status, or nothing that can be read
        hear(self.nc._build_message(number, subject, reply, body, headers))  # noqa: SLF001 - as above


def _line_in(text: bytes) -> _Line | None:
    """The line that announces a message; None for any other. The server parts its words by one space.

    nats-py parts them by white space of any kind, which a subject may hold (a vertical tab): it took that for a breach
    of the protocol and connected again, to be told the same. So whoever may publish a command could stop a service.
    """
    words = text.split(b" ")
    with_headers = 1 if words[0] == b"HMSG" else 0
    has_reply = len(words) == _MOST_WORDS + with_headers
    if words[0] not in (b"MSG", b"HMSG") or not (has_reply or len(words) == _MOST_WORDS - 1 + with_headers):
        return None
    sizes = (words[2], words[-1], words[-1 - with_headers])
    if not all(each.isdigit() for each in sizes):
        return None
    number, size, header_size = map(int, sizes)
    return _Line(number, words[1], words[3] if has_reply else b"", header_size if with_headers else 0, size)


def headers_in(block: bytes) -> dict[str, str] | None:
    """The headers of a block as the suite and the server write it; None for any that nats-py must look at."""
    if not block.startswith(_LINE) or not block.isascii():
        return None
    headers: dict[str, str] = {}
    for line in block[len(_LINE) :].decode("ascii").split("\r\n"):
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or not value.isprintable() or not _is_token(name):
            return None
        headers[name] = value.strip()
    return headers or None


_tokens: set[str] = set()


def _is_token(name: str) -> bool:
    """Whether there is no white space in it. Names are few; what is looked up is not looked at."""
    if name in _tokens:
        return True
    if not name.isprintable() or " " in name:
        return False
    if len(_tokens) < _MOST_NAMES:
        _tokens.add(name)
    return True
