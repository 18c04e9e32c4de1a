"""The suite's NATS client: same bytes as nats-py's, and it parses subjects that stop nats-py's parser."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client as NatsPyClient
from nats.errors import BadHeaderError
from nats.protocol.parser import Parser

from shared.errors import Unusable
from shared.nats.client import INSTALLED_NATS_PY, Client, MessageParser, parse_headers, require_supported_nats_py

NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,20}\Z")
BODIES = st.binary(max_size=400) | st.just(b"\r\nMSG a 1 5\r\n") | st.binary(min_size=70_000, max_size=70_000)


class Reader:
    """Notes what the parser takes out, as a client that has no subscription of ours."""

    def __init__(self):
        self.told, self._subs, self.stats = [], {}, {"in_msgs": 0, "in_bytes": 0}

    async def _process_msg(self, *message):
        self.told.append(message)

    async def deliver(self, line, header, body):
        await self._process_msg(line.sid, line.subject, line.reply, body, header)

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


@given(st.lists(MESSAGES | st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n"]), max_size=8), st.data())
def test_what_comes_in_pieces_is_read_as_nats_py_reads_it(sent, data):
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read(MessageParser, pieces) == read(Parser, pieces)


def test_white_space_in_a_subject_is_part_of_it():
    assert read(MessageParser, [line("keys.commands.key.\x0bx", "", b"", b"{}")]) == [
        (7, b"keys.commands.key.\x0bx", b"", b"{}", b"")
    ]


@given(st.dictionaries(NAMES, st.text(max_size=30), max_size=6), st.sampled_from([": ", ":", ":\t", " : "]))
def test_headers_are_read_as_nats_py_reads_them_or_left_to_it(headers, colon):
    lines = "".join(f"{name}{colon}{value}\r\n" for name, value in headers.items()).encode()

    found = parse_headers(b"NATS/1.0\r\n" + lines + b"\r\n")

    assert found is None or found == NatsPyClient._parse_header_lines(lines)  # noqa: SLF001 - what it is held against


@pytest.mark.parametrize(
    "block", [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n", b"\x00", b""]
)
def test_a_status_is_left_to_nats_py(block):
    assert parse_headers(block) is None


@given(st.none() | st.dictionaries(NAMES, st.text(max_size=30), min_size=1, max_size=6), st.binary(max_size=100))
def test_what_is_written_is_what_nats_py_would_write(headers, payload):
    async def written(client):
        await client._send_publish("keys.events", "_INBOX.1", payload, len(payload), headers)  # noqa: SLF001 - overridden
        return b"".join(client._pending)  # noqa: SLF001 - the write buffer

    assert asyncio.run(written(Client())) == asyncio.run(written(NatsPyClient()))


def test_a_header_that_is_no_name_is_refused():
    with pytest.raises(BadHeaderError):
        asyncio.run(Client()._send_publish("keys.events", "", b"", 0, {"a b": "c"}))  # noqa: SLF001 - overridden


def test_the_installed_nats_py_is_known():
    require_supported_nats_py(INSTALLED_NATS_PY)


@pytest.mark.parametrize("installed", ["2.15.9", "2.17.0", "3.0.0rc1", "2"])
def test_a_nats_py_of_another_minor_version_is_unusable(installed):
    with pytest.raises(Unusable, match=f"nats-py {installed} is installed, but .* of nats-py 2.16$"):
        require_supported_nats_py(installed)


def test_no_client_is_made_of_an_unknown_nats_py():
    with pytest.raises(Unusable):
        Client("2.17.0")
