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
from shared.telemetry import instruments
from shared.telemetry.spans import extract_context

_DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
_NANOSECONDS = 1_000_000_000
_meter = metrics.get_meter("cim-keys")
_tracer = trace.get_tracer("cim-keys")
_durations = _meter.create_histogram(
    "cim_keys.saga.duration",
    "s",
    "Duration of sagas, from their start command to their end",
    explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S,
)
_active = instruments.Gauge("cim_keys.saga.active", "{saga}", "Unfinished sagas")
_oldest = instruments.Gauge("cim_keys.saga.oldest", "s", "Age of the oldest unfinished saga")
_stuck = instruments.Gauge("cim_keys.saga.stuck", "{saga}", "Sagas that wait for an operator")


def record_end(saga: Saga[Any], now: datetime) -> None:
    """Records a saga whose end this process has just published.

    The log stores each end once, so it is recorded at most once; a process that is killed in between records nothing.
    """
    if instruments.is_on() and (began := _began_at(saga)) is not None:
        with instruments.best_effort(f"the end of a {saga.saga_type}"):
            _record(saga, min(began, now), now)


def _record(saga: Saga[Any], began: datetime, now: datetime) -> None:
    labels = {"cim.saga.type": saga.saga_type, "cim.outcome": str(saga.phase)}
    _durations.record((now - began).total_seconds(), labels)
    span = _tracer.start_span(
        f"saga {saga.saga_type}",
        extract_context(dict(saga.origin.trace)),
        attributes={**labels, "cim.saga.id": saga.saga_id},
        start_time=_nanoseconds(began),
    )
    span.end(_nanoseconds(now))


class Census:
    """Counts of the unfinished sagas of *types*, taken in one sweep."""

    def __init__(self, types: Iterable[str]) -> None:
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
        _active.set("census", {labels: self._active[kind] for labels, kind in kinds.items()})
        _oldest.set("census", {labels: self._oldest.get(kind, 0.0) for labels, kind in kinds.items()})
        _stuck.set("census", {(("cim.saga.type", kind[0]),): self._stuck[kind[0]] for kind in self._kinds})


def _began_at(saga: Saga[Any]) -> datetime | None:
    return saga.origin.at or timestamp_of(saga.origin.command_id)


def _nanoseconds(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * _NANOSECONDS)
