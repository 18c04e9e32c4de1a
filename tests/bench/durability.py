"""``python -m tests.bench.durability``: what fsync costs. The same certificates and the same sagas with nats-server's
default `sync_interval` (2 minutes) and with `always`, turn by turn, beside what one fsync costs on this disk."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import uvloop

from tests.bench.issuance import Issuance
from tests.bench.load import Result, closed_loop
from tests.bench.suite import DEVICES, FIRST_SERIAL, bootstrap, suite_up
from tests.support.nats import connected

MODES = ("2m", "always")
CERTIFICATES, SAGAS, IN_FLIGHT, TURNS = 1000, 300, 32, 3
PURPOSES = ("authentication", "digital-signature", "key-management", "card-authentication")


async def main() -> None:
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    print(f"one fsync of 4 kB: {fsync_ms():.2f} ms (median of 200)")
    print("| sync_interval | certificates/s | p50 ms | provisionings/s | p50 ms |\n|---|---|---|---|---|")
    for _ in range(TURNS):
        for mode in MODES:
            print(await measured(mode, scale), flush=True)


async def measured(sync_interval: str, scale: float) -> str:
    async with suite_up(None, sync_interval) as url, connected(url) as client:
        issuance = await Issuance.begin(client)
        await issuance.issue(50)
        row = await issuance.issue(int(CERTIFICATES * scale))
        sagas = await provisionings(client, int(SAGAS * scale))
    p50 = sagas.percentile(0.5)
    return f"| {sync_interval} | {row.rate:.0f} | {row.p50_ms:.1f} | {sagas.rate:.0f} | {p50:.0f} |"


async def provisionings(client, number: int) -> Result:
    """So many certificates put on virtual devices by sagas, IN_FLIGHT at once."""
    issuer = await bootstrap(client)

    def start(number: int, saga: str) -> tuple[str, bytes, dict[str, str]]:
        body = {
            "saga_id": saga,
            "issuer_id": issuer,
            "subject": {"common_name": f"Person {number}"},
            "purpose": PURPOSES[number % 4],
            "yubikey_serial": str(FIRST_SERIAL + number // 4 % DEVICES),
            "replace": True,
            "key_origin": "on-device",
            "validity_days": 365,
        }
        return "keys.commands.saga.certificate-provisioning.start", json.dumps(body).encode(), {}

    return await closed_loop(client, number, IN_FLIGHT, start, "keys.events.saga.*.*.*")


def fsync_ms() -> float:
    taken = []
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "file").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(os.urandom(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[100] * 1000


if __name__ == "__main__":
    uvloop.run(main())
