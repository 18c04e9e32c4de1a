"""``python -m tests.bench.replicas``: what it costs to keep everything three times. The same certificates and sagas on
one server, on three with each stream on one of them, and on three with each on all, turn by turn. Needs root."""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from tests.bench.durability import provisionings
from tests.bench.issuance import Issuance
from tests.bench.suite import running_suite
from tests.support.nats import connected
from tests.support.nats_cluster import cluster_up

CERTIFICATES, SAGAS, TURNS = 1000, 300, 3
KINDS = {"one server": None, "three, each stream on one": 1, "three, each stream on all": 3}


@asynccontextmanager
async def suite_on(replicas):
    if replicas is None:
        async with running_suite(None) as suite:
            yield suite
        return
    with tempfile.TemporaryDirectory() as directory:
        async with (
            cluster_up(Path(directory)) as cluster,
            running_suite(None, servers=cluster.url, replicas=replicas) as suite,
        ):
            yield suite


async def turn(replicas, scale):
    """Certificates a second and their median latency, provisionings a second and theirs (milliseconds)."""
    async with suite_on(replicas) as suite, connected(suite.url) as client:
        issuance = await Issuance.begin(client)
        await issuance.issue(50)
        row = await issuance.issue(max(int(CERTIFICATES * scale), 1))
        sagas = await provisionings(client, max(int(SAGAS * scale), 1))
    return row.rate, row.p50_ms, sagas.rate, sagas.percentile(0.5)


async def main() -> None:
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    turns = [(kind, await turn(replicas, scale)) for _ in range(TURNS) for kind, replicas in KINDS.items()]
    print("| | certificates/s | p50 ms | provisionings/s | p50 ms |\n|---|---|---|---|---|")
    for kind in KINDS:
        columns = zip(*(measured for name, measured in turns if name == kind), strict=True)
        print(f"| {kind} |", " | ".join(f"{statistics.median(column):.0f}" for column in columns), "|", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
