"""What the server sends, taken apart: whole messages here and quickly, all else by nats-py's own parser."""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_LARGE = 65_536
"""A message of which more than this is still to come is collected by nats-py, which does not look at it twice."""
_MOST_NAMES = 1000
_WORDS = (5, 6)
"""How many words an HMSG line has, without and with a subject to reply to; MSG has one less."""
_LINE = b"NATS/1.0\r\n"


class QuickParser(Parser):
    """*heard*: who is told at once, by the number of the subscription; everybody else is told as nats-py does it."""

    def __init__(self, client: Client, before: Parser) -> None:
        self._resets = 0
        super().__init__(client)
        self.heard: dict[int, Callable[[Msg], None]] = {}
        self.buf, self.state, self.needed = before.buf, before.state, before.needed
        self.header_needed, self.msg_arg = before.header_needed, before.msg_arg

    def reset(self) -> None:
        super().reset()
        self._resets += 1

    async def parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        buffer, self.buf, resets = bytes(self.buf) + data if self.buf else data, bytearray(), self._resets
        position = 0
        while (end := buffer.find(b"\r\n", position)) >= 0:
            words = buffer[position:end].split()
            kind, count = words[0] if words else b"", len(words)
            if kind == b"HMSG" and count in _WORDS:
                header_size, has_reply = int(words[-2]), count == _WORDS[1]
            elif kind == b"MSG" and count + 1 in _WORDS:
                header_size, has_reply = 0, count + 1 == _WORDS[1]
            else:
                await self._leave(buffer[position:])
                return
            begin = end + 2
            size = int(words[-1])
            if begin + size + 2 > len(buffer):
                if size > _LARGE:
                    await self._leave(buffer[position:])
                    return
                break
            reply = words[3] if has_reply else b""
            header, body = buffer[begin : begin + header_size], buffer[begin + header_size : begin + size]
            position = begin + size + 2
            await self._take(int(words[2]), words[1], reply, body, header)
            if self._resets != resets:  # connected anew meanwhile: what is left came over a connection that is gone
                return
        self.buf = bytearray(buffer[position:])

    async def _leave(self, rest: bytes) -> None:
        self.buf = bytearray(rest)
        await super().parse()

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
