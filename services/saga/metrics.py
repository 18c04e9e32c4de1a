"""Metrics of sagas: the duration and end of each, and a census of the unfinished ones.

Every coordinator counts all sagas: of several values the greatest holds (docs/adr/0026).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from opentelemetry import metrics, trace

from services.saga.core.state import Phase, Saga
from shared.messages.ids import timestamp_of
from shared.telemetry.instruments import METER, Gauge, best_effort, is_on
from shared.telemetry.spans import extract_context

_DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
_NANOSECONDS = 1_000_000_000


class SagaInstruments:
    """Tracer, histogram and gauges of sagas."""

    def __init__(self, meter: metrics.Meter, tracer: trace.Tracer) -> None:
        self.tracer = tracer
        self.durations = meter.create_histogram(
            "cim_keys.saga.duration",
            "s",
            "Duration of sagas, from their start command to their end",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S,
        )
        self.active = Gauge("cim_keys.saga.active", "{saga}", "Unfinished sagas", meter=meter)
        self.oldest = Gauge("cim_keys.saga.oldest", "s", "Age of the oldest unfinished saga", meter=meter)
        self.stuck = Gauge("cim_keys.saga.stuck", "{saga}", "Sagas that wait for an operator", meter=meter)


_INSTRUMENTS = SagaInstruments(METER, trace.get_tracer("cim-keys"))


def record_end(saga: Saga[Any], now: datetime, instruments: SagaInstruments | None = None) -> None:
    """Records a saga whose end this process has just published.

    The log stores each end once, so it is recorded at most once; a process that is killed in between records nothing.
    *instruments*: default are those of this process, once observation is on.
    """
    if (instruments is not None or is_on()) and (began := _began_at(saga)) is not None:
        with best_effort(f"the end of a {saga.saga_type}"):
            _record(saga, min(began, now), now, instruments or _INSTRUMENTS)


def _record(saga: Saga[Any], began: datetime, now: datetime, instruments: SagaInstruments) -> None:
    labels = {"cim.saga.type": saga.saga_type, "cim.outcome": str(saga.phase)}
    instruments.durations.record((now - began).total_seconds(), labels)
    span = instruments.tracer.start_span(
        f"saga {saga.saga_type}",
        extract_context(dict(saga.origin.trace)),
        attributes={**labels, "cim.saga.id": saga.saga_id},
        start_time=_nanoseconds(began),
    )
    span.end(_nanoseconds(now))


class Census:
    """Counts of the unfinished sagas of *types*, taken in one sweep."""

    def __init__(self, types: Iterable[str], instruments: SagaInstruments = _INSTRUMENTS) -> None:
        self._instruments = instruments
        self._kinds = {(saga_type, str(phase)) for saga_type in types for phase in (Phase.RUNNING, Phase.COMPENSATING)}
        self.begin()

    def begin(self) -> None:
        """Resets the counts: those of an interrupted sweep would be too low."""
        self._active: Counter[tuple[str, str]] = Counter()
        self._stuck: Counter[str] = Counter()
        self._oldest: dict[tuple[str, str], float] = {}

    def count(self, saga: Saga[Any], now: datetime) -> None:
        kind = saga.saga_type, str(saga.phase)
        self._active[kind] += 1
        self._stuck[saga.saga_type] += any(pending.stuck is not None for pending in saga.pending)
        age = (now - (_began_at(saga) or now)).total_seconds()
        self._oldest[kind] = max(self._oldest.get(kind, 0.0), age)

    def report(self) -> None:
        """Reports the counts since `begin`, zeros included."""
        kinds = {(("cim.saga.type", kind[0]), ("cim.saga.phase", kind[1])): kind for kind in self._kinds}
        self._instruments.active.set("census", {labels: self._active[kind] for labels, kind in kinds.items()})
        self._instruments.oldest.set("census", {labels: self._oldest.get(kind, 0.0) for labels, kind in kinds.items()})
        self._instruments.stuck.set(
            "census", {(("cim.saga.type", kind[0]),): self._stuck[kind[0]] for kind in self._kinds}
        )


def _began_at(saga: Saga[Any]) -> datetime | None:
    return saga.origin.at or timestamp_of(saga.origin.command_id)


def _nanoseconds(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * _NANOSECONDS)
