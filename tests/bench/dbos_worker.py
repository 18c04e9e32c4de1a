"""The saga of the benchmark as a workflow of DBOS: run by a virtual environment of its own, never by the suite's.

Each step is what a step of ours is: a command in JetStream, which a service answers with one event; DBOS keeps in
PostgreSQL what has been done. Commands come on standard input, one a line; answers go to standard output.
"""

import asyncio
import json
import sys
import time
from uuid import uuid4

import nats
from dbos import DBOS, SetWorkflowID
from nats.js.errors import NotFoundError

NATS_URL, POSTGRES_URL, STEPS = sys.argv[1], sys.argv[2], int(sys.argv[3])
DBOS(config={"name": "bench", "system_database_url": POSTGRES_URL, "log_level": "ERROR", "run_admin_server": False})
waiting: dict[str, asyncio.Future] = {}
wire: dict[str, object] = {}


@DBOS.step()
async def ask(saga: str, number: int) -> int:
    js, key = wire["js"], f"{saga}-{number}"
    answered = waiting[key] = asyncio.get_running_loop().create_future()
    body = json.dumps({"saga": saga, "number": number}).encode()
    stored = await js.publish("raw.commands.step", body, headers={"Nats-Msg-Id": key})
    if stored.duplicate and await _is_answered(js, key):
        return number
    await answered
    return number


async def _is_answered(js, key: str) -> bool:
    try:
        await js.get_last_msg("RAW_EVENTS", f"raw.events.step.{key}")
    except NotFoundError:
        return False
    return True


@DBOS.workflow()
async def saga_of_steps(saga: str) -> int:
    for number in range(STEPS):
        await ask(saga, number)
    return STEPS


async def begin():
    saga = str(uuid4())
    with SetWorkflowID(saga):
        return await DBOS.start_workflow_async(saga_of_steps, saga)


async def load(number: int, in_flight: int) -> dict[str, object]:
    """A closed loop: as many in flight, each next one begun when one ends."""
    latencies, numbers = [], iter(range(number))

    async def one_after_another() -> None:
        for _ in numbers:
            began = time.perf_counter()
            await (await begin()).get_result()
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    return {"seconds": time.perf_counter() - began, "latencies": latencies}


async def start(number: int) -> dict[str, object]:
    for some in range(0, number, 64):
        await asyncio.gather(*(begin() for _ in range(min(64, number - some))))
    return {"started": number}


async def finish(number: int) -> dict[str, object]:
    """Until so many have succeeded, of those that this process took over when it was launched."""
    while await _succeeded() < number:  # noqa: ASYNC110 - it can only be asked
        await asyncio.sleep(0.2)
    return {"finished": number}


async def _succeeded() -> int:
    return len(await DBOS.list_workflows_async(status="SUCCESS", load_input=False, load_output=False))


async def main() -> None:
    client = await nats.connect(NATS_URL)
    wire["js"] = client.jetstream()

    async def heard(message) -> None:
        future = waiting.pop(message.subject.rpartition(".")[2], None)
        if future is not None and not future.done():
            future.get_loop().call_soon_threadsafe(lambda: future.done() or future.set_result(None))

    await client.subscribe("raw.events.step.*", cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    DBOS.launch()
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *numbers = line.split()
        answer = await {"load": load, "start": start, "finish": finish}[what](*map(int, numbers))
        print(json.dumps(answer), flush=True)


asyncio.run(main())
