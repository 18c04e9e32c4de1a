"""Spans and metrics of handled messages: duration, outcome and error of each.

This module uses OpenTelemetry's API only. Without a collector nothing is measured, at the cost of reading one variable
(docs/adr/0026).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from nats.aio.msg import Msg
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from shared.messages.catalog import catalog
from shared.messages.subjects import aggregate_type_of
from shared.telemetry import spans

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_TEMPLATE = "messaging.destination.template"
Labels = tuple[tuple[str, str], ...]
log = logging.getLogger(__name__)
METER = metrics.get_meter("cim-keys")
"""The meter of this process: a proxy until the SDK is configured."""


class Instruments:
    """Tracer and histograms of handled messages."""

    def __init__(self, meter: metrics.Meter, tracer: trace.Tracer) -> None:
        self.tracer = tracer
        self.handling_durations = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of the handling of a message",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self.command_durations = meter.create_histogram(
            "cim_keys.command.duration",
            "s",
            "Time from the storage of a command to its outcome",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )


_INSTRUMENTS = Instruments(METER, trace.get_tracer("cim-keys"))


class Gauge:
    """A gauge that exports only the values of the last `set`.

    OpenTelemetry's own gauge exports each label set for ever, also of things that are gone.
    """

    def __init__(self, name: str, unit: str, description: str, *, meter: metrics.Meter = METER) -> None:
        self._values: dict[str, Mapping[Labels, float]] = {}
        meter.create_observable_gauge(name, [self._observe], unit, description)

    def set(self, source: str, values: Mapping[Labels, float]) -> None:
        """Replaces all values of *source*."""
        self._values = {**self._values, source: values}  # a new dict, because the exporting thread reads it

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        for values in self._values.values():
            for labels, value in values.items():
                yield Observation(value, dict(labels))


@dataclass(slots=True)
class ObservedMessage:
    """The message that is being handled, and its outcome once there is one."""

    correlation_id: str
    event_type: str | None = None
    code: str | None = None

    def outcome(self, template: str) -> dict[str, str]:
        """Labels of the command's outcome; empty without one."""
        if self.event_type is None:
            return {}
        outcome = {"cim.command": template.removeprefix("keys.commands."), "cim.answer": self.event_type}
        return outcome | {"cim.code": self.code} if self.code else outcome


current_message: ContextVar[ObservedMessage | None] = ContextVar("observed", default=None)


class _Switch:
    is_on = False


def switch_on() -> None:
    """Turns observation on for this process."""
    _Switch.is_on = True


def is_on() -> bool:
    return _Switch.is_on


def observe(message: Msg, durable: str, instruments: Instruments | None = None) -> AbstractContextManager[None]:
    """Observes the handling of *message* of the consumer *durable*; messages that it causes continue the trace.

    *instruments*: default are those of this process, once observation is on.
    """
    if instruments is None:
        if not _Switch.is_on:
            return nullcontext()
        instruments = _INSTRUMENTS
    return _observing(message, durable, instruments)


def record_outcome(event_type: str, code: str | None = None) -> None:
    """Records the outcome of the current command: the type of the event, and the *code* of a rejection."""
    if (current := current_message.get()) is not None:
        current.event_type, current.code = event_type, code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation:
    """Span, labels and times of one handled message."""

    instruments: Instruments
    span: trace.Span
    labels: dict[str, str]
    stored: datetime
    current: ObservedMessage

    def end(self, seconds: float, error: str | None) -> None:
        """Records duration and outcome; of an *error* only the type, because its text may contain a secret."""
        failed = {"error.type": error} if error else {}
        outcome = {} if error else self.current.outcome(self.labels[_TEMPLATE])
        self.span.set_attributes({**failed, **outcome})
        if error:
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end()
        self.instruments.handling_durations.record(seconds, {**self.labels, **failed})
        if outcome:
            seconds_since_stored = (datetime.now(UTC) - self.stored).total_seconds()
            self.instruments.command_durations.record(max(seconds_since_stored, 0.0), outcome)


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Logs any exception of the body and continues: measuring must not stop the measured work."""
    try:
        yield
    except Exception:
        log.exception("%s is not measured", what)


@contextmanager
def _observing(message: Msg, durable: str, instruments: Instruments) -> Iterator[None]:
    observation: _Observation | None = None
    with best_effort(durable):
        observation = _begin_observation(message, durable, instruments)
    if observation is None:
        yield
        return
    token, started, failed = current_message.set(observation.current), time.perf_counter(), None
    try:
        with trace.use_span(observation.span, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        current_message.reset(token)
        with best_effort(durable):
            observation.end(time.perf_counter() - started, failed)


def _begin_observation(message: Msg, durable: str, instruments: Instruments) -> _Observation:
    labels = {_TEMPLATE: template_of(message.subject), "messaging.consumer.group.name": durable}
    current = ObservedMessage(str(spans.correlation_id_of(message)))
    return _Observation(
        instruments=instruments,
        span=spans.start_span(message, durable, labels, instruments.tracer),
        labels=labels,
        stored=message.metadata.timestamp,
        current=current,
    )


def template_of(subject: str) -> str:
    """Returns the line of subjects.yaml for *subject*: a bounded number of label values."""
    if subject in catalog().commands:
        return subject
    match subject.split("."):
        case ["keys", "events", aggregate, kind, *_] if f"keys.events.{aggregate}.{kind}.*" in catalog().routes:
            return f"keys.events.{aggregate}.{kind}.*"
        case ["keys", "events" | "commands" as direction, aggregate, *_] if aggregate in _aggregates():
            return f"keys.{direction}.{aggregate}.>"
        case ["keys", "timers", *_]:
            return "keys.timers.*.due"
        case _:
            return "other"


@cache
def _aggregates() -> frozenset[str]:
    return frozenset(aggregate_type_of(text) for text in catalog().commands)
