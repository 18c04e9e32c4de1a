"""``python -m tests.bench.telemetry``: what telemetry costs. The same certificates without a collector and with one
that throws away what it is told, turn by turn; and what the look costs that finds that there is none.

BENCH_BEFORE: a checkout whose services are measured in the same turns.
"""

from __future__ import annotations

import os
import statistics
import threading
import timeit
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvloop

from shared.telemetry import instruments
from tests.bench.issuance import Issuance
from tests.bench.suite import running_suite
from tests.support.nats import connected

CERTIFICATES, TURNS = 1500, 3
_SERVICES = ("certificate", "key", "saga", "yubikey")


@dataclass(frozen=True)
class Turn:
    """One turn: certificates a second, and microseconds of processor time of the services for one."""

    kind: str
    rate: float
    microseconds: float


class _Ignoring(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_): ...


@contextmanager
def ignoring_collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ignoring)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def look_ns(number: int = 200_000) -> float:
    """Returns the cost of an unobserved message in nanoseconds."""

    def looked() -> None:
        with instruments.observe(None, "key"):  # type: ignore[arg-type] # it is not looked at
            pass
        instruments.record_outcome("KeyGenerated")

    return timeit.timeit(looked, number=number) / number * 1e9


async def turn(kind: str, scale: float, environment: dict[str, str]) -> Turn:
    async with running_suite(None, told=environment) as suite, connected(suite.url) as client:
        issuance = await Issuance.begin(client)
        await issuance.issue(100)
        row = await issuance.issue(max(int(CERTIFICATES * scale), 1))
    return Turn(kind, row.rate, sum(row.processor_us.get(name, 0) for name in _SERVICES))


async def measure(scale: float) -> list[Turn]:
    kinds: dict[str, dict[str, str]] = {"no collector": {}}
    if before := os.environ.get("BENCH_BEFORE"):
        kinds["before"] = {"PYTHONPATH": before, "PYTHONSAFEPATH": "1"}
    turns = []
    with ignoring_collector() as url:
        kinds["a collector"] = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        for _ in range(TURNS):
            turns += [await turn(kind, scale, environment) for kind, environment in kinds.items()]
    return turns


def report(turns: list[Turn]) -> None:
    print(f"a message that nobody observes: {look_ns():.0f} ns")
    print("| | certificates/s | processor time of one, µs |\n|---|---|---|")
    for kind in dict.fromkeys(each.kind for each in turns):
        of_kind = [each for each in turns if each.kind == kind]
        rates, times = [each.rate for each in of_kind], [each.microseconds for each in of_kind]
        spread = f"{statistics.median(times):,.0f} ({min(times):,.0f} - {max(times):,.0f})"
        print(f"| {kind} | {statistics.median(rates):.0f} | {spread} |")


if __name__ == "__main__":
    report(uvloop.run(measure(float(os.environ.get("BENCH_SCALE", "1")))))
