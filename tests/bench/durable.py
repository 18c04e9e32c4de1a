"""Beside a general system of durable execution: the same saga as a workflow of DBOS, whose state PostgreSQL keeps.

``python -m tests.bench durable``; left out, with one line saying so, where one of the two is not to be had.

Both ask the same of a service: four commands in JetStream, each answered by one event in its log. What differs: ours
announces each step in the log, sets a timer, checks what it hears and is answered by the key service; DBOS calls its
steps in its own process and is answered by a bare service. DBOS goes into a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import processor, raw, recovery
from tests.bench.idle_coordinator import start
from tests.bench.load import Result, closed_loop
from tests.bench.suite import suite_up
from tests.support.nats import connected, free_port

DBOS = "dbos==3.4.0"
STEPS, IN_FLIGHT, SAGAS, RECOVERED = 4, 32, 1500, 2000
_VENV = Path(sys.prefix) / "dbos"


@dataclass(frozen=True)
class Row:
    """*recovered_s*: seconds from kill -9 until all that were in flight are complete; None: not measured."""

    what: str
    rate: float
    p50_ms: float
    p99_ms: float
    processor_ms: float
    in_flight_when_killed: int
    recovered_s: float | None

    def told(self) -> dict[str, object]:
        return asdict(self)


async def measure(scale: float = 1.0) -> list[Row] | str:
    """The rows, or why there are none."""
    if (missing := await asyncio.to_thread(_missing)) is not None:
        return missing
    number, killed = max(int(SAGAS * scale), IN_FLIGHT), max(int(RECOVERED * scale), 20)
    return [
        await _ours(number, killed),
        await _dbos(number, killed, "off"),
        await _dbos(number, killed, "on"),
    ]


def _missing() -> str | None:
    if _postgres() is None:
        return "left out: PostgreSQL is not installed (apt-get install postgresql)"
    if not (_VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", _VENV], check=True)
    pip = [_VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, DBOS, "nats-py==2.16.0"], check=False, capture_output=True)
    return None if installed.returncode == 0 else f"left out: {DBOS} cannot be installed"


def _postgres() -> Path | None:
    """Returns the directory of PostgreSQL's programs: from PATH, or Debian's."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


async def _ours(number: int, killed: int) -> Row:
    async with suite_up(["-m", "tests.bench.idle_coordinator", str(STEPS)]) as url, connected(url) as client:
        ends = "keys.events.saga.*.*.*"
        await closed_loop(client, 50, 8, start, ends)
        before = processor.spent()
        result = await closed_loop(client, number, IN_FLIGHT, start, ends)
        spent = _without_the_driver(before)
    return _row("CIM Keys", result, spent, killed, await recovery.ours(killed, kill=True))


async def _dbos(number: int, killed: int, synchronous_commit: str) -> Row:
    async with _database(synchronous_commit) as (database, url), raw.running(STEPS, 0) as (client, service):
        nats_url = client.connected_url.geturl()
        async with _worker(nats_url, url) as worker:
            await worker.say("load 50 8")
            before, backends = processor.spent(), processor.below(database.pid)
            told = await worker.say(f"load {number} {IN_FLIGHT}")
            spent = processor.below(database.pid) - backends + _without_the_driver(before)
            os.kill(service.pid, signal.SIGSTOP)
            await worker.say(f"start {killed}")
            os.kill(service.pid, signal.SIGCONT)
            js = client.jetstream()
            already = 4 * (50 + number)
            while (await js.stream_info("RAW_EVENTS")).state.messages < already + killed / 10:  # noqa: ASYNC110 - JetStream says no Event
                await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            os.kill(worker.pid, signal.SIGKILL)
        async with _worker(nats_url, url) as worker:
            await worker.say(f"finish {50 + number + killed}")
            recovered = asyncio.get_running_loop().time() - began
    result = Result(IN_FLIGHT, number, told["seconds"], told["latencies"], 0)
    return _row(f"DBOS, PostgreSQL, synchronous_commit {synchronous_commit}", result, spent, killed, recovered)


def _without_the_driver(before: dict[str, float]) -> float:
    return sum(seconds for name, seconds in processor.since(before).items() if name != "driver")


def _row(what: str, result: Result, spent: float, killed: int, recovered: float) -> Row:
    p50, p99 = (round(result.percentile(share), 1) for share in (0.5, 0.99))
    each = round(spent / result.sagas * 1000, 1)
    return Row(what, round(result.rate, 1), p50, p99, each, killed, round(recovered, 1))


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.pid = process, process.pid

    async def say(self, line: str) -> dict:
        """Returns the answer to a line; without a line, waits until the process is ready."""
        if line:
            self._process.stdin.write(f"{line}\n".encode())
        if not (answer := await asyncio.wait_for(self._process.stdout.readline(), 300)):
            raise SystemExit("the worker of DBOS has ended; its last words are above")
        return json.loads(answer)


@asynccontextmanager
async def _worker(nats_url: str, postgres_url: str):
    command = [str(_VENV / "bin" / "python"), "-m", "tests.bench.dbos_worker", nats_url, postgres_url, str(STEPS)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24)
    try:
        await (worker := _Worker(process)).say("")
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _database(synchronous_commit: str):
    """A PostgreSQL of its own on the loopback, as an unprivileged user; its postmaster, and where it listens."""
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as directory:
        if user:
            shutil.chown(directory, "postgres")
        data, port, quiet = (
            f"{directory}/data",
            free_port(),
            {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
        )
        initdb = [_postgres() / "initdb", "-D", data, "-A", "trust", "-U", "bench"]
        await asyncio.to_thread(subprocess.run, initdb, check=True, cwd=directory, **user, **quiet)
        where = ("-k", directory, "-h", "127.0.0.1", "-p", str(port), "-c", f"synchronous_commit={synchronous_commit}")
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once; uvloop's knows no user
            [_postgres() / "postgres", "-D", data, *where], cwd=directory, **user, **quiet
        )
        try:
            await _until_it_listens(port)
            yield process, f"postgresql://bench@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # "fast": it does not wait for its clients
            await asyncio.to_thread(process.wait)


async def _until_it_listens(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await asyncio.sleep(0.5)  # it listens before it lets anybody in
                return


def report(rows: list[Row] | str) -> None:
    """Returns the figures in Markdown."""
    if isinstance(rows, str):
        print(rows)
        return
    print(
        f"| {IN_FLIGHT} in flight | sagas/s | p50 ms | p99 ms | processor time of a saga, ms | killed, until complete |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.what} | {row.rate:,} | {row.p50_ms:,} | {row.p99_ms:,} | {row.processor_ms} "
            f"| {row.in_flight_when_killed:,} in flight: {row.recovered_s} s |"
        )
