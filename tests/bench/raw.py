"""The ceiling: the message pattern of a saga in bare nats-py, with nothing of the suite in it.

A start command; then for each step a command that a service consumes and answers with one event, which the coordinator
consumes and follows with a compare-and-set of its KV entry; at the end one event. No checks, no types, no cryptography.
"""

from __future__ import annotations

import asyncio
import json
import sys

import nats
import uvloop
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

BATCH = 256


async def declare(js: JetStreamContext) -> None:
    await js.add_stream(StreamConfig("RAW_COMMANDS", subjects=["raw.commands.>"], retention=RetentionPolicy.WORK_QUEUE))
    await js.add_stream(StreamConfig("RAW_EVENTS", subjects=["raw.events.>"]))
    await js.add_stream(StreamConfig("KV_RAW", subjects=["$KV.RAW.>"], max_msgs_per_subject=5))
    for stream, durable, subject in (
        ("RAW_COMMANDS", "service", "raw.commands.step"),
        ("RAW_COMMANDS", "start", "raw.commands.start"),
        ("RAW_EVENTS", "coordinator", "raw.events.step.*"),
    ):
        await js.add_consumer(
            stream, ConsumerConfig(durable_name=durable, filter_subject=subject, max_ack_pending=4096)
        )


async def service(url: str) -> None:
    """Answers each command with one event, appended with an expected sequence."""
    client = await nats.connect(url)
    js = client.jetstream()
    subscription = await js.pull_subscribe_bind("service", stream="RAW_COMMANDS")

    async def answer(message: nats.aio.msg.Msg) -> None:
        step = json.loads(message.data)
        subject = f"raw.events.step.{step['saga']}-{step['number']}"
        await js.publish(subject, message.data, headers={"Nats-Expected-Last-Subject-Sequence": "0"})
        await message.ack()

    await _forever(subscription, answer)


async def coordinator(url: str, steps: int) -> None:
    client = await nats.connect(url)
    js = client.jetstream()
    revisions: dict[str, int] = {}

    async def advance(saga: str, number: int) -> None:
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revisions.get(saga, 0))}
        body = json.dumps({"saga": saga, "number": number}).encode()
        revisions[saga] = (await js.publish(f"$KV.RAW.{saga}", body, headers=expected)).seq
        if number == steps:
            del revisions[saga]
            await js.publish(f"raw.events.completed.{saga}", body)
        else:
            await js.publish("raw.commands.step", body, headers={"Nats-Msg-Id": f"{saga}-{number}"})

    async def begin(message: nats.aio.msg.Msg) -> None:
        await advance(json.loads(message.data)["saga"], 0)
        await message.ack()

    async def hear(message: nats.aio.msg.Msg) -> None:
        told = json.loads(message.data)
        await advance(told["saga"], told["number"] + 1)
        await message.ack()

    starts = await js.pull_subscribe_bind("start", stream="RAW_COMMANDS")
    events = await js.pull_subscribe_bind("coordinator", stream="RAW_EVENTS")
    await asyncio.gather(_forever(starts, begin), _forever(events, hear))


async def _forever(subscription, handle) -> None:
    tasks: set[asyncio.Task[None]] = set()
    while True:
        try:
            messages = await subscription.fetch(BATCH, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            task = asyncio.create_task(handle(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    role, url = sys.argv[1:3]
    uvloop.run(service(url) if role == "service" else coordinator(url, int(sys.argv[3])))
