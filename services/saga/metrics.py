"""What operators see of sagas: how long each took and how it ended, how many are under way, which wait for an operator.

Each coordinator counts all of them: of what several say the greatest holds (docs/adr/0026).
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

_LENGTHS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
_NANOSECONDS = 1_000_000_000
_meter = metrics.get_meter("cim-keys")
_tracer = trace.get_tracer("cim-keys")
_durations = _meter.create_histogram(
    "cim_keys.saga.duration",
    "s",
    "From when a saga was asked for until it was over",
    explicit_bucket_boundaries_advisory=_LENGTHS,
)
_active = instruments.Gauge("cim_keys.saga.active", "{saga}", "Sagas that are not over")
_oldest = instruments.Gauge("cim_keys.saga.oldest", "s", "How long the oldest saga that is not over has been going on")
_stuck = instruments.Gauge("cim_keys.saga.stuck", "{saga}", "Sagas that wait for an operator")


def ended(saga: Saga[Any], now: datetime) -> None:
    """Measure *saga*, which has just been told to be over: at most once, for its end is stored once. Who is killed, or
    not told that it is stored, measures nothing."""
    if instruments.is_on() and (began := _began(saga)) is not None:
        with instruments.best_effort(f"the end of a {saga.saga_type}"):
            _measure(saga, min(began, now), now)


def _measure(saga: Saga[Any], began: datetime, now: datetime) -> None:
    about = {"cim.saga.type": saga.saga_type, "cim.outcome": str(saga.phase)}
    _durations.record((now - began).total_seconds(), about)
    span = _tracer.start_span(
        f"saga {saga.saga_type}",
        extract_context(dict(saga.origin.trace)),
        attributes={**about, "cim.saga.id": saga.saga_id},
        start_time=_nanoseconds(began),
    )
    span.end(_nanoseconds(now))


class Census:
    """The sagas of *types* that are not over, counted in one look at all of them."""

    def __init__(self, types: Iterable[str]) -> None:
        self._known = {(saga_type, str(phase)) for saga_type in types for phase in (Phase.RUNNING, Phase.COMPENSATING)}
        self.begin()

    def begin(self) -> None:
        """Forget what was counted: a look that was cut short counts for nothing."""
        self._active: Counter[tuple[str, str]] = Counter()
        self._stuck: Counter[str] = Counter()
        self._oldest: dict[tuple[str, str], float] = {}

    def count(self, saga: Saga[Any], now: datetime) -> None:
        kind = saga.saga_type, str(saga.phase)
        self._active[kind] += 1
        self._stuck[saga.saga_type] += any(question.stuck is not None for question in saga.questions)
        age = (now - (_began(saga) or now)).total_seconds()
        self._oldest[kind] = max(self._oldest.get(kind, 0.0), age)

    def report(self) -> None:
        """Tell what was counted since `begin`, of what there is none too."""
        kinds = {(("cim.saga.type", kind[0]), ("cim.saga.phase", kind[1])): kind for kind in self._known}
        _active.set("census", {labels: self._active[kind] for labels, kind in kinds.items()})
        _oldest.set("census", {labels: self._oldest.get(kind, 0.0) for labels, kind in kinds.items()})
        _stuck.set("census", {(("cim.saga.type", kind[0]),): self._stuck[kind[0]] for kind in self._known})


def _began(saga: Saga[Any]) -> datetime | None:
    return saga.origin.at or timestamp_of(saga.origin.command_id)


def _nanoseconds(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * _NANOSECONDS)
