"""``python -m tests.bench.consuming [runs]``: what reading a durable consumer costs, ours beside FastStream's (ADR 0005).

The same `key.generate` commands on the suite's own streams, and for every one of them the same work: pydantic validation, one
event appended with expected sequence 0, then the acknowledgement. Each way reads in a process of its own, on a server of
its own, so that the processor time is that of the consuming process alone (from the first message to the last).

- own: `shared.consumer.PullConsumer`, at most 256 at a time
- batch-100, batch-256: FastStream, `batch=True`; the batch handled with `asyncio.gather`, each message acknowledged by itself
- calls-100: FastStream, `batch_size=100`, one message a call, `max_workers` 1 (the default) or 256
- raw-256: nats-py's `fetch(256)` and `asyncio.gather`, the ceiling of a batch at a time

FastStream gets its best chance: no injection (`apply_types=False`), and a decoder that hands over the message as it is.
First a backlog of 20,000 is worked off; then commands come at 500 a second, one in a hundred takes 300 ms, and what is told is
how long the other ones take from when they were due to be published until their event stands.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import nats.errors
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared.consumer import PullConsumer
from shared.contracts.key import Algorithm, GenerateKey
from shared.envelope import Outgoing, seal_command
from shared.headers import Lineage
from shared.streams import ACK_WAIT, declare, declare_consumer
from tests.support.nats import connected, nats_server

BACKLOG = 20_000
RATE, SECONDS, WARM = 500, 10, 500
SLOW_EVERY, SLOW = 100, 0.3
FETCH_SECONDS = float(os.environ.get("T", "0.05"))
STREAM, DURABLE = "KEYS_COMMANDS", "key"


class Work:
    """What is done for each command, and how long it took."""

    def __init__(self, js: JetStreamContext, messages: int) -> None:
        self._js = js
        self._left = messages
        self._latencies: list[float] = []
        self._began = (0.0, 0.0)
        self.figures = asyncio.get_running_loop().create_future()

    async def handle(self, message: Msg) -> None:
        self._began = self._began if self._began[0] else (time.monotonic(), processor_time())
        command = GenerateKey.model_validate_json(message.data)
        slow = "Bench-Slow" in message.headers
        if slow:
            await asyncio.sleep(SLOW)
        expectation = {
            "Nats-Msg-Id": f"{message.headers['Nats-Msg-Id']}-e",
            "Nats-Expected-Last-Subject-Sequence": "0",
            "Nats-Expected-Last-Subject-Sequence-Subject": f"keys.events.key.*.{command.key_id}",
        }
        subject = f"keys.events.key.generated.{command.key_id}"
        await self._js.publish(subject, command.model_dump_json().encode(), headers=expectation)
        if not slow and "Bench-Due" in message.headers:
            self._latencies.append(time.monotonic() - float(message.headers["Bench-Due"]))
        self._left -= 1
        if not self._left:
            seconds, used = time.monotonic() - self._began[0], processor_time() - self._began[1]
            self.figures.set_result((seconds, used, percentiles(self._latencies[WARM:])))

    async def handle_and_ack(self, message: Msg) -> None:
        await self.handle(message)
        await message.ack()

    async def handle_all(self, messages: list[Msg]) -> None:
        await asyncio.gather(*map(self.handle_and_ack, messages))


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def percentiles(latencies: list[float]) -> list[float]:
    ordered = sorted(latencies) or [0.0]
    return [ordered[int(len(ordered) * share)] for share in (0.5, 0.99)]


async def own(broker: NatsBroker, work: Work):
    async def surrender(message: Msg) -> None:
        raise AssertionError(message.subject)

    consumer = PullConsumer(broker.connection, STREAM, DURABLE, work.handle, surrender, ack_wait=ACK_WAIT, limit=256)
    await consumer.start()
    return consumer.stop


def subscriber(size: int, *, batch: bool = False, max_workers: int = 1):
    async def as_it_is(message):
        return message.raw_message

    async def start(broker: NatsBroker, work: Work):
        broker.subscriber(
            "keys.commands.key.>",
            durable=DURABLE,
            stream=JStream(STREAM, declare=False),
            pull_sub=PullSub(batch_size=size, timeout=FETCH_SECONDS, batch=batch),
            ack_policy=AckPolicy.MANUAL,
            decoder=as_it_is,
            max_workers=max_workers,
        )(work.handle_all if batch else work.handle_and_ack)
        await broker.start()
        return broker.connection.flush

    return start


async def raw(broker: NatsBroker, work: Work):
    subscription = await broker.connection.jetstream().pull_subscribe_bind(DURABLE, stream=STREAM)

    async def forever() -> None:
        while True:
            try:
                await work.handle_all(await subscription.fetch(256, timeout=FETCH_SECONDS))
            except nats.errors.TimeoutError:
                continue

    reading = asyncio.create_task(forever())

    async def stop() -> None:
        reading.cancel()

    return stop


WAYS = {
    "own": own,
    "batch-100": subscriber(100, batch=True),
    "batch-256": subscriber(256, batch=True),
    "calls-100, 1 worker": subscriber(100),
    "calls-100, 256 workers": subscriber(100, max_workers=256),
    "w32": subscriber(100, max_workers=32),
    "w100": subscriber(100, max_workers=100),
    "raw-256": raw,
}


async def consume(way: str, url: str, messages: int) -> None:
    """The consuming process: says when it reads, then its figures."""
    broker = NatsBroker(url, logger=None, apply_types=False, pending_size=32 * 1024 * 1024)
    await broker.connect()
    work = Work(broker.connection.jetstream(), messages)
    stop = await WAYS[way](broker, work)
    print("reading", flush=True)
    figures = await work.figures
    await asyncio.sleep(0.1)
    await stop()
    await broker.stop()
    print(json.dumps(figures))


def command(**headers: str) -> Outgoing:
    sealed = seal_command(
        GenerateKey(key_id=str(uuid4()), algorithm=Algorithm.EC_P256, owner="Ada Lovelace", label="bench"),
        Lineage.root(uuid4(), "operator"),
        "bench",
    )
    return Outgoing(sealed.subject, sealed.payload, sealed.headers | headers)


async def backlog(js: JetStreamContext) -> None:
    for _ in range(0, BACKLOG, 500):
        sealed = [command() for _ in range(500)]
        await asyncio.gather(*(js.publish(one.subject, one.payload, headers=one.headers) for one in sealed))


async def steadily(js: JetStreamContext) -> None:
    began, published = time.monotonic() + 0.1, []
    for number in range(RATE * SECONDS):
        due = began + number / RATE
        await asyncio.sleep(max(due - time.monotonic(), 0))
        slow = {"Bench-Slow": "1"} if number % SLOW_EVERY == SLOW_EVERY - 1 else {}
        one = command(**{"Bench-Due": str(due), **slow})
        published.append(asyncio.create_task(js.publish(one.subject, one.payload, headers=one.headers)))
    await asyncio.gather(*published)


async def measure(way: str, *, steady: bool) -> tuple[float, float, list[float]]:
    with tempfile.TemporaryDirectory() as store:
        async with nats_server(Path(store)) as server, connected(server.url) as client:
            await declare(client)
            await declare_consumer(client, DURABLE)
            js, messages = client.jetstream(), RATE * SECONDS if steady else BACKLOG
            if not steady:
                await backlog(js)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.bench.consuming",
                way,
                server.url,
                str(messages),
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                await process.stdout.readline()
                if steady:
                    await steadily(js)
                figures = json.loads(await asyncio.wait_for(process.stdout.readline(), 120))
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            left, events = [(await js.stream_info(name)).state.messages for name in (STREAM, "KEYS_EVENTS")]
            assert (left, events) == (0, messages), (way, left, events)
            return figures


if __name__ == "__main__":
    uvloop.run(consume(sys.argv[1], sys.argv[2], int(sys.argv[3])))
