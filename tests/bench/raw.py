"""The ceiling: the message pattern of a saga in bare nats-py, with nothing of the suite in it.

A start command; then for each step a command that a service consumes and answers with one event, which a coordinator
consumes and follows with a compare-and-set of its KV entry; at the end one event. No checks, no types, no cryptography.
The revision that is expected travels with the messages, so that any number of coordinators may share the sagas.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import nats
import uvloop
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError

from shared.nats.streams import ACK_WAIT_S
from tests.bench.load import Result, each_load
from tests.bench.suite import process
from tests.support.nats import connected, nats_server

BATCH = 256
ENDS = "raw.events.completed.*"


async def measure(steps: int, sagas: dict[int, int], coordinators: int = 1) -> list[Result]:
    async with running(steps, coordinators) as (client, _):
        return await each_load(client, sagas, start, ENDS)


@asynccontextmanager
async def running(steps: int, coordinators: int = 1):
    """A client of a server on which one service and so many coordinators work, and the service's process."""
    with tempfile.TemporaryDirectory() as store:
        async with nats_server(Path(store)) as server, connected(server.url) as client:
            await declare(client.jetstream())
            with ExitStack() as processes:
                answering = processes.enter_context(process("tests.bench.raw", "service", server.url))
                for _ in range(coordinators):
                    processes.enter_context(process("tests.bench.raw", "coordinator", server.url, str(steps)))
                yield client, answering


def start(_: int, saga: str) -> tuple[str, bytes, dict[str, str]]:
    return "raw.commands.start", json.dumps({"saga": saga}).encode(), {"Nats-Msg-Id": saga}


async def declare(js: JetStreamContext) -> None:
    await js.add_stream(StreamConfig("RAW_COMMANDS", subjects=["raw.commands.>"], retention=RetentionPolicy.WORK_QUEUE))
    await js.add_stream(StreamConfig("RAW_EVENTS", subjects=["raw.events.>"]))
    await js.add_stream(StreamConfig("KV_RAW", subjects=["$KV.RAW.>"], max_msgs_per_subject=5))
    for stream, durable, subject in (
        ("RAW_COMMANDS", "service", "raw.commands.step"),
        ("RAW_COMMANDS", "start", "raw.commands.start"),
        ("RAW_EVENTS", "coordinator", "raw.events.step.*"),
    ):
        config = {"filter_subject": subject, "max_ack_pending": 4096, "ack_wait": ACK_WAIT_S}
        await js.add_consumer(stream, ConsumerConfig(durable_name=durable, **config))


async def service(url: str) -> None:
    """Answers each command with one event, appended with an expected sequence; once, however often it is delivered."""
    client = await nats.connect(url)
    js = client.jetstream()

    async def answer(message: nats.aio.msg.Msg) -> None:
        step = json.loads(message.data)
        subject = f"raw.events.step.{step['saga']}-{step['number']}"
        with suppress(BadRequestError):
            await js.publish(subject, message.data, headers={"Nats-Expected-Last-Subject-Sequence": "0"})
        await message.ack()

    await _read(client, "RAW_COMMANDS", "service", answer)


async def coordinator(url: str, steps: int) -> None:
    client = await nats.connect(url)
    js = client.jetstream()

    async def advance(saga: str, number: int, expected: int) -> None:
        step = {"saga": saga, "number": number}
        try:
            saved = await js.publish(
                f"$KV.RAW.{saga}",
                json.dumps(step).encode(),
                headers={"Nats-Expected-Last-Subject-Sequence": str(expected)},
            )
            revision = saved.seq
        except BadRequestError:  # it was saved before: by whom may have been killed before it sent what follows
            entry = await js.get_last_msg("KV_RAW", f"$KV.RAW.{saga}")
            if json.loads(entry.data) != step:
                return
            revision = entry.seq
        body, headers = json.dumps({**step, "revision": revision}).encode(), {"Nats-Msg-Id": f"{saga}-{number}"}
        subject = f"raw.events.completed.{saga}" if number == steps else "raw.commands.step"
        await js.publish(subject, body, headers=headers)

    async def begin(message: nats.aio.msg.Msg) -> None:
        await advance(json.loads(message.data)["saga"], 0, 0)
        await message.ack()

    async def hear(message: nats.aio.msg.Msg) -> None:
        told = json.loads(message.data)
        await advance(told["saga"], told["number"] + 1, told["revision"])
        await message.ack()

    await asyncio.gather(
        _read(client, "RAW_COMMANDS", "start", begin), _read(client, "RAW_EVENTS", "coordinator", hear)
    )


async def _read(client: nats.aio.client.Client, stream: str, durable: str, handle) -> None:
    """One subscription, asked again for more when half is there. (What `fetch` has given up on, when several fetch from
    one consumer, is delivered to nobody until `ack_wait` is over.)"""
    inbox, tasks, wanted = client.new_inbox(), set(), 0
    subscription = await client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
    while True:
        if wanted <= BATCH // 2:
            request = {"batch": BATCH - wanted, "expires": int(30e9)}
            await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", json.dumps(request).encode(), inbox)
            wanted = BATCH
        message = await subscription.next_msg(timeout=None)
        if not message.reply:  # a request has expired
            wanted = 0
            continue
        wanted -= 1
        task = asyncio.create_task(handle(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    role, url = sys.argv[1:3]
    uvloop.run(service(url) if role == "service" else coordinator(url, int(sys.argv[3])))
