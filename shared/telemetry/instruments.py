"""What operators see of the work: a span and a duration for each message that is handled, and what came of it.

Only OpenTelemetry's API is used here: where no collector is configured nothing is measured, and that costs a look at
one variable (docs/adr/0026).
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
_meter = metrics.get_meter("cim-keys")
_handling = _meter.create_histogram(
    "messaging.process.duration",
    "s",
    "How long handling a message took",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
)
_answering = _meter.create_histogram(
    "cim_keys.command.duration",
    "s",
    "From when a command was stored until it was answered",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
)


class Gauge:
    """What is so as of when it was told last; what is not told any more is not said any more either.

    OpenTelemetry's own gauge says for ever what it was told once: of what is gone, and by who cannot see any more.
    """

    def __init__(self, name: str, unit: str, description: str) -> None:
        self._told: dict[str, Mapping[Labels, float]] = {}
        _meter.create_observable_gauge(name, [self._observe], unit, description)

    def set(self, teller: str, values: Mapping[Labels, float]) -> None:
        """All that *teller* knows, in place of what it told before."""
        self._told = {**self._told, teller: values}  # a new one: it is read by the thread that exports

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        for values in self._told.values():
            for labels, value in values.items():
                yield Observation(value, dict(labels))


@dataclass(slots=True)
class ObservedMessage:
    """A message that is being handled, and what came of it as far as that is known."""

    correlation_id: str
    answer: str | None = None
    code: str | None = None

    def outcome(self, template: str) -> dict[str, str]:
        """How the command was answered, in labels; nothing, if it was not."""
        if self.answer is None:
            return {}
        outcome = {"cim.command": template.removeprefix("keys.commands."), "cim.answer": self.answer}
        return outcome | {"cim.code": self.code} if self.code else outcome


current_message: ContextVar[ObservedMessage | None] = ContextVar("observed", default=None)


class _Switch:
    is_on = False


def switch_on() -> None:
    """Have messages observed from now on."""
    _Switch.is_on = True


def is_on() -> bool:
    return _Switch.is_on


def observe(message: Msg, durable: str) -> AbstractContextManager[None]:
    """For as long as *message*, read from the consumer *durable*, is handled; what it leads to carries the trace on."""
    return _observing(message, durable) if _Switch.is_on else nullcontext()


def record_outcome(answer: str, code: str | None = None) -> None:
    """The command that is being handled has its answer: an event of that type; of a rejection, the *code* too."""
    if (current := current_message.get()) is not None:
        current.answer, current.code = answer, code


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is measured of a message while it is handled."""

    span: trace.Span
    labels: dict[str, str]
    stored: datetime
    current: ObservedMessage

    def end(self, seconds: float, error: str | None) -> None:
        """Tell what came of it; of an *error* its type, never its text: nobody vouches for what a bug puts there."""
        failed = {"error.type": error} if error else {}
        outcome = {} if error else self.current.outcome(self.labels[_TEMPLATE])
        self.span.set_attributes({**failed, **outcome})
        if error:
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end()
        _handling.record(seconds, {**self.labels, **failed})
        if outcome:
            _answering.record(max((datetime.now(UTC) - self.stored).total_seconds(), 0.0), outcome)


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Nothing that goes wrong in the body goes further than the log: who measures must not stop what is measured."""
    try:
        yield
    except Exception:
        log.exception("%s is not measured", what)


@contextmanager
def _observing(message: Msg, durable: str) -> Iterator[None]:
    sight: _Sight | None = None
    with best_effort(durable):
        sight = _sight(message, durable)
    if sight is None:
        yield
        return
    told, began, failed = current_message.set(sight.current), time.perf_counter(), None
    try:
        with trace.use_span(sight.span, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        current_message.reset(told)
        with best_effort(durable):
            sight.end(time.perf_counter() - began, failed)


def _sight(message: Msg, durable: str) -> _Sight:
    labels = {_TEMPLATE: template_of(message.subject), "messaging.consumer.group.name": durable}
    current = ObservedMessage(str(spans.correlation_id_of(message)))
    return _Sight(spans.start_span(message, durable, labels), labels, message.metadata.timestamp, current)


def template_of(subject: str) -> str:
    """The line of subjects.yaml that *subject* is one of; a bounded number of values, whatever is published."""
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
