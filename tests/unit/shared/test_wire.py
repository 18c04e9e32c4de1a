"""What stands in nats-py's place reads and writes the same bytes; and what nats-py stumbles over, too."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError
from nats.protocol.parser import Parser

from shared.nats.parser import QuickParser, headers_in
from shared.nats.writer import Writing

NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,20}\Z")
BODIES = st.binary(max_size=400) | st.just(b"\r\nMSG a 1 5\r\n") | st.binary(min_size=70_000, max_size=70_000)


class Reader:
    """Notes what the parser takes out, as a client that has no subscription of ours."""

    def __init__(self):
        self.told, self._subs, self.stats = [], {}, {"in_msgs": 0, "in_bytes": 0}

    async def _process_msg(self, *message):
        self.told.append(message)

    async def _process_ping(self):
        self.told.append("ping")

    async def _process_pong(self):
        self.told.append("pong")


def line(subject, reply, headers, body):
    reply = f"{reply} " if reply else ""
    if headers:
        return (
            f"HMSG {subject} 7 {reply}{len(headers)} {len(headers) + len(body)}\r\n".encode() + headers + body + b"\r\n"
        )
    return f"MSG {subject} 7 {reply}{len(body)}\r\n".encode() + body + b"\r\n"


MESSAGES = st.builds(
    line,
    st.just("keys.events"),
    st.sampled_from(["", "_INBOX.x"]),
    st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n"]),
    BODIES,
)


def read(kind, pieces):
    reader = Reader()
    parser = kind(reader)

    async def all_of_them():
        for piece in pieces:
            await parser.parse(piece)

    asyncio.run(all_of_them())
    return [tuple(part or b"" for part in each) if isinstance(each, tuple) else each for each in reader.told]


def quick(reader):
    return QuickParser(reader, Parser(reader))


@given(st.lists(MESSAGES | st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n"]), max_size=8), st.data())
def test_what_comes_in_pieces_is_read_as_nats_py_reads_it(sent, data):
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read(quick, pieces) == read(Parser, pieces)


def test_white_space_in_a_subject_is_part_of_it():
    assert read(quick, [line("keys.commands.key.\x0bx", "", b"", b"{}")]) == [
        (7, b"keys.commands.key.\x0bx", b"", b"{}", b"")
    ]


@given(st.dictionaries(NAMES, st.text(max_size=30), max_size=6), st.sampled_from([": ", ":", ":\t", " : "]))
def test_headers_are_read_as_nats_py_reads_them_or_left_to_it(headers, colon):
    lines = "".join(f"{name}{colon}{value}\r\n" for name, value in headers.items()).encode()

    found = headers_in(b"NATS/1.0\r\n" + lines + b"\r\n")

    assert found is None or found == Client._parse_header_lines(lines)  # noqa: SLF001 - what it is held against


@pytest.mark.parametrize(
    "block", [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n", b"\x00", b""]
)
def test_a_status_is_left_to_nats_py(block):
    assert headers_in(block) is None


@given(st.none() | st.dictionaries(NAMES, st.text(max_size=30), min_size=1, max_size=6), st.binary(max_size=100))
def test_what_is_written_is_what_nats_py_would_write(headers, payload):
    async def written(send_as):
        client = Client()
        await send_as(client)("keys.events", "_INBOX.1", payload, len(payload), headers)
        return b"".join(client._pending)  # noqa: SLF001 - where both leave it

    ours = asyncio.run(written(lambda client: Writing(client).send_publish))
    theirs = asyncio.run(written(lambda client: client._send_publish))  # noqa: SLF001 - what it is held against
    assert ours == theirs


def test_a_header_that_is_no_name_is_refused():
    with pytest.raises(BadHeaderError):
        asyncio.run(Writing(Client()).send_publish("keys.events", "", b"", 0, {"a b": "c"}))
