"""A closed loop of sagas: so many in flight, each next one begun when one ends; what each took, from start to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import nats
from nats.aio.client import Client

Start = Callable[[int, str], tuple[str, bytes, dict[str, str]]]
ENDS = frozenset({"completed", "compensated", "failed"})


@dataclass(frozen=True)
class Result:
    in_flight: int
    sagas: int
    seconds: float
    latencies: list[float]
    not_completed: int

    @property
    def rate(self) -> float:
        return self.sagas / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


async def closed_loop(
    client: Client,
    sagas: int,
    in_flight: int,
    start: Start,
    ends: str,
) -> Result:
    """*start* makes the subject, body and headers of the n-th saga; *ends*: the pattern its announcements match."""
    js = client.jetstream()
    waiting: dict[str, asyncio.Future[bool]] = {}

    async def ended(message: nats.aio.msg.Msg) -> None:
        *_, announced, saga_id = message.subject.split(".")
        future = waiting.get(saga_id)
        if announced in ENDS and future is not None and not future.done():
            future.set_result(announced == "completed")

    subscription = await client.subscribe(ends, cb=ended, pending_msgs_limit=-1, pending_bytes_limit=-1)
    latencies: list[float] = []
    numbers, failures = iter(range(sagas)), 0

    async def one_after_another() -> None:
        nonlocal failures
        for number in numbers:
            saga_id = str(uuid4())
            subject, body, headers = start(number, saga_id)
            waiting[saga_id] = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            await js.publish(subject, body, headers=headers)
            failures += not await asyncio.wait_for(waiting[saga_id], 120)
            latencies.append(time.perf_counter() - began)
            del waiting[saga_id]

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    seconds = time.perf_counter() - began
    await subscription.unsubscribe()
    return Result(in_flight, sagas, seconds, latencies, failures)


async def each_load(client: Client, sagas: dict[int, int], start: Start, ends: str) -> list[Result]:
    """*sagas*: how many to measure with so many in flight."""
    await closed_loop(client, 50, 8, start, ends)  # warm
    return [await closed_loop(client, max(number, 1), in_flight, start, ends) for in_flight, number in sagas.items()]
