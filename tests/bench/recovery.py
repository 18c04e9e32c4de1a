"""Ten thousand sagas in the midst of their work when their coordinator is killed: how long until all are complete.

The service that answers is stopped until every saga has asked its first question; then it is let go, and when a tenth
of its answers are heard, the only coordinator is killed and started again. Beside it the same without the kill, and
both with the bare pattern of messages.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from uuid import uuid4

from nats.aio.client import Client

from tests.bench import idle_coordinator, raw
from tests.bench.load import Start
from tests.bench.suite import process, running_suite
from tests.support.nats import connected
from tests.support.processes import pids_of
from tests.support.waiting import until

SAGAS, STEPS = 10_000, 4
AT_ONCE = 256


@dataclass(frozen=True)
class Recovery:
    """Seconds from the kill (or, with none, from the same moment) until the last saga was complete."""

    sagas: int
    killed_s: float
    undisturbed_s: float
    raw_killed_s: float
    raw_undisturbed_s: float

    def told(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """The setting of a measurement: *answering* is the answering process; consumers by name; how to kill it."""

    client: Client
    start: Start
    ends: str
    answering: int
    asked: tuple[str, str]
    heard: tuple[str, str]
    kill: Callable[[], Awaitable[None]]


async def measure(scale: float = 1.0) -> Recovery:
    sagas = max(int(SAGAS * scale), 20)
    own = [await ours(sagas, kill=kill) for kill in (True, False)]
    bare = [await _raw(sagas, kill=kill) for kill in (True, False)]
    return Recovery(sagas, *(round(seconds, 1) for seconds in (*own, *bare)))


async def ours(sagas: int, *, kill: bool) -> float:
    coordinator = ["-m", "tests.bench.idle_coordinator", str(STEPS)]
    async with running_suite(coordinator) as suite, connected(suite.url) as client:

        async def kill_coordinator() -> None:  # the supervisor starts it again
            os.kill(pids_of(suite.state)["saga"], signal.SIGKILL)

        scene = Scene(
            client,
            idle_coordinator.start,
            "keys.events.saga.pki-bootstrap.completed.*",
            pids_of(suite.state)["key"],
            ("KEYS_COMMANDS", "key"),
            ("KEYS_EVENTS", "saga-events"),
            kill_coordinator,
        )
        return await _seconds(scene, sagas, kill=kill)


async def _raw(sagas: int, *, kill: bool) -> float:
    async with raw.running(STEPS, coordinators=0) as (client, answering):
        url = client.connected_url.geturl()
        with ExitStack() as coordinators:
            first = coordinators.enter_context(process("tests.bench.raw", "coordinator", url, str(STEPS)))

            async def kill_coordinator() -> None:
                first.kill()
                coordinators.enter_context(process("tests.bench.raw", "coordinator", url, str(STEPS)))

            asked, heard = ("RAW_COMMANDS", "service"), ("RAW_EVENTS", "coordinator")
            scene = Scene(client, raw.start, raw.ENDS, answering.pid, asked, heard, kill_coordinator)
            return await _seconds(scene, sagas, kill=kill)


async def _seconds(scene: Scene, sagas: int, *, kill: bool) -> float:
    js, left, all_over = scene.client.jetstream(), {str(uuid4()) for _ in range(sagas)}, asyncio.Event()

    async def ended(message) -> None:
        left.discard(message.subject.rpartition(".")[2])
        if not left:
            all_over.set()

    await scene.client.subscribe(scene.ends, cb=ended, pending_msgs_limit=-1, pending_bytes_limit=-1)
    os.kill(scene.answering, signal.SIGSTOP)
    waiting = sorted(left)
    for some in (waiting[n : n + AT_ONCE] for n in range(0, sagas, AT_ONCE)):
        starts = (scene.start(0, saga) for saga in some)
        await asyncio.gather(*(js.publish(subject, body, headers=headers) for subject, body, headers in starts))
    await until(lambda: _all_are_asked(js, scene, sagas), within=300)
    os.kill(scene.answering, signal.SIGCONT)
    await until(lambda: _some_are_heard(js, scene, sagas // 10), within=60)
    if len(left) < sagas:
        raise SystemExit(f"only {len(left)} of {sagas} sagas were in flight when it was to be killed")
    began = time.perf_counter()
    if kill:
        await scene.kill()
    await asyncio.wait_for(all_over.wait(), 300)
    return time.perf_counter() - began


async def _all_are_asked(js, scene: Scene, sagas: int) -> bool:
    info = await js.consumer_info(*scene.asked)
    return info.num_pending + info.num_ack_pending >= sagas


async def _some_are_heard(js, scene: Scene, some: int) -> bool:
    return (await js.consumer_info(*scene.heard)).delivered.consumer_seq >= some
