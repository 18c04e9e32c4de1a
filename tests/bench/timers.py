"""How late timers are: sagas that sleep until a time, and JetStream's scheduled messages alone, in the same run."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.bench.idle_coordinator import start
from tests.bench.suite import running_suite
from tests.support.nats import connected, nats_server

TIMERS, RATE, LEAD = 1000, 100, 6.0
"""So many, so many a second, the first after a lead of seconds in which all are set."""


@dataclass(frozen=True)
class Lateness:
    """Milliseconds, from when it was due until a client heard of it."""

    what: str
    timers: int
    p50_ms: float
    p99_ms: float
    most_ms: float

    def told(self) -> dict[str, object]:
        return asdict(self)


async def measure(scale: float = 1.0) -> list[Lateness]:
    number = max(int(TIMERS * scale), 10)
    async with running_suite(["-m", "tests.bench.idle_coordinator", "asleep"]) as suite, connected(suite.url) as client:

        async def sleep_until(due: datetime, saga: str) -> None:
            subject, body, _ = start(0, saga, due.isoformat())
            await client.jetstream().publish(subject, body)

        ours = await _late(client, number, sleep_until, "keys.events.saga.pki-bootstrap.completed.*")
    with tempfile.TemporaryDirectory() as store:
        async with nats_server(Path(store)) as server, connected(server.url) as client:
            stream = StreamConfig("RAW_TIMERS", subjects=["raw.timers.>"])
            await client.jetstream().add_stream(stream.evolve(allow_msg_schedules=True))

            async def schedule(due: datetime, timer: str) -> None:
                at = due.isoformat().replace("+00:00", "Z")
                headers = {"Nats-Schedule": f"@at {at}", "Nats-Schedule-Target": f"raw.timers.{timer}.due"}
                await client.jetstream().publish(f"raw.timers.{timer}.wake", b"", headers=headers)

            bare = await _late(client, number, schedule, "raw.timers.*.due")
    return [
        _lateness("a saga that sleeps, until its end is heard", ours),
        _lateness("JetStream's schedule alone", bare),
    ]


async def _late(
    client: Client, number: int, set_timer: Callable[[datetime, str], Awaitable[None]], fires: str
) -> list[float]:
    """Seconds, of each. What fires is heard from its stream: the server publishes it nowhere else."""
    dues: dict[str, float] = {}
    late: list[float] = []
    all_fired = asyncio.Event()

    async def fired(message) -> None:
        now = time.time()
        if (due := dues.pop(next(filter(dues.__contains__, message.subject.split(".")), ""), None)) is not None:
            late.append(now - due)
            if not dues:
                all_fired.set()

    subscription = await client.jetstream().subscribe(fires, cb=fired, ordered_consumer=True)
    first = time.time() + LEAD
    dues |= {str(uuid4()): first + n / RATE for n in range(number)}
    timers = list(dues.items())
    for some in (timers[n : n + 64] for n in range(0, number, 64)):
        await asyncio.gather(*(set_timer(datetime.fromtimestamp(due, UTC), timer) for timer, due in some))
    if time.time() > first:
        raise SystemExit(f"{number} timers could not be set in {LEAD:.0f} s")
    await asyncio.wait_for(all_fired.wait(), LEAD + number / RATE + 60)
    await subscription.unsubscribe()
    return sorted(late)


def _lateness(what: str, late: list[float]) -> Lateness:
    p50, p99 = (round(late[int(len(late) * share)] * 1000) for share in (0.5, 0.99))
    return Lateness(what, len(late), p50, p99, round(late[-1] * 1000))
