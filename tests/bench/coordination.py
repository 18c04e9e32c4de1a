"""Costs of coordination: a decision, sagas a second, recovery after kill -9, lateness; each beside its raw ceiling.

``python -m tests.bench coordination``. The saga has four steps without cryptography, which the key service answers.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench import deciding, processor, raw, recovery, timers
from tests.bench.deciding import Deciding
from tests.bench.idle_coordinator import start
from tests.bench.load import Result, each_load
from tests.bench.recovery import Recovery
from tests.bench.suite import process, suite_up
from tests.bench.timers import Lateness
from tests.support.nats import connected

STEPS = 4
SAGAS = {1: 300, 32: 1500, 256: 2500, 2000: 6000}
COORDINATORS = (1, 4)


@dataclass(frozen=True)
class Row:
    coordinators: int
    ours: Result
    ceiling: Result
    processor_us: dict[str, int]
    """Processor time of one saga, by process, over all the loads with as many coordinators."""

    def told(self) -> dict[str, object]:
        return {
            "saga": "no cryptography",
            "steps": STEPS,
            "coordinators": self.coordinators,
            **beside(self.ours, self.ceiling),
            "processor_us": self.processor_us,
        }


@dataclass(frozen=True)
class Coordination:
    rows: list[Row]
    deciding: Deciding
    recovery: Recovery
    lateness: list[Lateness]

    def told(self) -> dict[str, object]:
        return {
            "rows": [row.told() for row in self.rows],
            "deciding": self.deciding.told(),
            "recovery": self.recovery.told(),
            "lateness": [each.told() for each in self.lateness],
        }


def beside(ours: Result, ceiling: Result) -> dict[str, object]:
    """One load, and the same load of the bare pattern."""
    return {
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


async def measure(scale: float = 1.0) -> Coordination:
    sagas = {in_flight: int(number * scale) for in_flight, number in SAGAS.items()}
    rows = [row for coordinators in COORDINATORS for row in await _loads(coordinators, sagas)]
    return Coordination(rows, deciding.measure(scale), await recovery.measure(scale), await timers.measure(scale))


async def _loads(coordinators: int, sagas: dict[int, int]) -> list[Row]:
    ceiling = await raw.measure(STEPS, sagas, coordinators)
    idle = "tests.bench.idle_coordinator"
    async with suite_up(["-m", idle, str(STEPS)]) as url, connected(url) as client:
        with ExitStack() as more:
            for _ in range(coordinators - 1):
                more.enter_context(process(idle, str(STEPS), NATS_URL=url))
            before = processor.spent()
            ours = await each_load(client, sagas, start, "keys.events.saga.*.*.*")
            total = sum(result.sagas for result in ours)
            spent = {name: round(each / total * 1e6) for name, each in processor.since(before).items()}
    return [Row(coordinators, *each, spent) for each in zip(ours, ceiling, strict=True)]


def report(coordination: Coordination) -> None:
    """Returns the figures in Markdown."""
    print("| coordinators | in flight | sagas/s | p50 ms | p99 ms | raw sagas/s | raw p50 ms | raw p99 ms | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in coordination.rows:
        told = row.told()
        columns = ("rate", "p50_ms", "p99_ms", "raw_rate", "raw_p50_ms", "raw_p99_ms", "ratio")
        cells = [f"{told[column]:,}" for column in columns]
        print(f"| {row.coordinators} | {row.ours.in_flight:,} | {' | '.join(cells)} |")
        if row.ours.not_completed:
            print(f"{row.ours.not_completed} did not complete")
    for row in {row.coordinators: row for row in coordination.rows}.values():
        each = ", ".join(f"{name} {spent}" for name, spent in row.processor_us.items() if spent)
        print(f"\nProcessor time of a saga with {row.coordinators}, µs: {sum(row.processor_us.values()):,} ({each})")
    cost, after = coordination.deciding, coordination.recovery
    print("\n| | ours | raw |\n|---|---|---|")
    print(f"| deciding one step, µs | {cost.decided_us} | |")
    print(f"| writing it down and sealing what it sends, µs | {cost.written_and_sealed_us} | {cost.raw_us} |")
    print(
        f"| {after.sagas:,} in flight: until all are complete, s | {after.undisturbed_s} | {after.raw_undisturbed_s} |"
    )
    print(f"| the same, the coordinator killed meanwhile, s | {after.killed_s} | {after.raw_killed_s} |")
    ours, bare = coordination.lateness
    print(f"| timer, p50 late, ms | {ours.p50_ms} | {bare.p50_ms} |")
    print(f"| timer, p99 late, ms ({ours.timers:,}, {timers.RATE} a second) | {ours.p99_ms} | {bare.p99_ms} |")
