"""Background tasks: every error is logged."""

import asyncio
import logging
from unittest.mock import AsyncMock, Mock

from shared.errors import Transient
from shared.process.health import serve_probes
from shared.process.host import Host
from shared.process.metrics import _pending, measure_forever
from shared.process.subscriber import ConsumerProgress
from tests.support.nats import free_port
from tests.support.waiting import until


async def ends_badly():
    raise ValueError


async def test_a_task_that_ended_by_an_error_is_said_in_the_log_and_to_who_asks(caplog, monkeypatch):
    host = Host("nats://127.0.0.1:1", "key")
    monkeypatch.setattr(host, "_started", True)
    monkeypatch.setattr(type(host.broker), "connection", Mock(is_connected=True))
    host.background(asyncio.sleep(0))
    host.background(ends_badly())
    await asyncio.sleep(0.01)
    assert await host.app.problems() == ["ends_badly has ended; the log says why"]
    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert record.exc_info[0] is ValueError


async def test_a_consumer_that_cannot_be_asked_is_measured_later_and_not_as_it_once_stood():
    turns = [ConsumerProgress(5, 1, 0), RuntimeError("a bug"), Transient("away")]
    seen = []

    async def progress():
        seen.append({dict(o.attributes)["messaging.consumer.group.name"]: o.value for o in _pending._observe(None)})  # noqa: SLF001 - as it is exported
        if not turns:
            raise SystemExit
        if isinstance(turn := turns.pop(0), Exception):
            raise turn
        return turn

    consumer = Mock(durable="key", progress=progress)
    try:
        await measure_forever(consumer, interval_s=0)
    except SystemExit:
        assert seen[1:] == [{"key": 5}, {"key": 5}, {}]


class Probes:
    def __init__(self, problems):
        self.port = free_port()
        self._serving = serve_probes("127.0.0.1", self.port, problems)

    async def __aenter__(self):
        await self._serving.__aenter__()
        await until(self._answers)
        return self

    async def __aexit__(self, *error):
        await self._serving.__aexit__(*error)

    async def _answers(self):
        return (await self.ask("/livez")).startswith(b"HTTP/1.1 200 ")

    async def ask(self, path="/readyz"):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer


async def test_what_goes_wrong_while_it_looks_is_answered():
    async with Probes(AsyncMock(side_effect=KeyError("secret"))) as probes:
        answer = await probes.ask()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"(KeyError)" in answer
    assert b"secret" not in answer


async def test_however_many_ask_it_looks_once_at_a_time():
    looks, go_on = [], asyncio.Event()

    async def look():
        looks.append(1)
        await go_on.wait()
        return []

    async with Probes(look) as probes:
        asking = [asyncio.create_task(probes.ask()) for _ in range(50)]
        await asyncio.sleep(0.2)
        go_on.set()
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in await asyncio.gather(*asking))
    assert len(looks) == 1


async def test_who_holds_connections_open_does_not_take_the_files_that_the_work_needs():
    async with Probes(AsyncMock(return_value=[])) as probes:
        held = [await asyncio.open_connection("127.0.0.1", probes.port) for _ in range(150)]
        await asyncio.sleep(0.1)
        assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in held) == 50
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.1)
        assert (await probes.ask()).startswith(b"HTTP/1.1 200 ")
