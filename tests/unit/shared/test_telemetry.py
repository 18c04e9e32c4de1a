"""Telemetry of handled messages: any message is handled, its span can be exported, and labels are bounded."""

import asyncio
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.msg import Msg
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.messages.catalog import catalog
from shared.telemetry import instruments, spans
from shared.telemetry.exporter import DerivedIds

NAMES = (
    "traceparent",
    "tracestate",
    "CIM-Command-Id",
    "CIM-Event-Id",
    "CIM-Correlation-Id",
    "CIM-Causation-Id",
    "CIM-Saga-Id",
    "CIM-Saga-Type",
    "CIM-Saga-Step",
    "CIM-Timestamp",
)
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
ANY_TEXT = st.text(st.characters())  # with surrogates: what nats-py makes of bytes that are no UTF-8
VALUES = st.one_of(
    ANY_TEXT,
    ANY_TEXT.map(lambda text: text * 5000),
    st.uuids().map(str),
    st.datetimes().map(lambda at: at.isoformat()),
    st.sampled_from(
        [TRACEPARENT, "vendor=1", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", str(UUID(int=0))]
    ),
)
HEADERS = st.none() | st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, VALUES)
SUBJECTS = ANY_TEXT | st.lists(
    st.sampled_from(["keys", "commands", "events", "timers", "key", "saga", "generate"]) | ANY_TEXT
).map(".".join)
LONGEST = 256


class Exported:
    """Instruments with in-memory exporters."""

    def __init__(self):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        traces = TracerProvider(id_generator=DerivedIds(), shutdown_on_exit=False)
        traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        meter = MeterProvider([self.reader], shutdown_on_exit=False).get_meter("test")
        self.instruments = instruments.Instruments(meter, traces.get_tracer("test"))

    def observe(self, observed, durable="key"):
        return instruments.observe(observed, durable, self.instruments)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def labels(self):
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return [dict(point.attributes) for scope in scopes for each in scope.metrics for point in each.data.data_points]


@pytest.fixture(name="seen", scope="module")
def _seen():
    return Exported()


@pytest.fixture(autouse=True)
def _nothing_yet(seen):
    seen.exporter.clear()


def message(headers, subject="keys.commands.key.generate", deliveries=1):
    reply = f"$JS.ACK.KEYS_COMMANDS.key.{deliveries}.7.7.1700000000000000000.0"
    return Msg(_client=Mock(), subject=subject, reply=reply, data=b"", headers=headers)


@given(HEADERS, SUBJECTS, st.integers(1, 3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_message_is_handled_and_its_span_is_small_and_can_be_exported(seen, headers, subject, deliveries):
    seen.exporter.clear()
    handled = message(headers, subject, deliveries)
    with seen.observe(handled):
        instruments.record_outcome("KeyGenerated")
    (span,) = seen.spans
    encode_spans([span]).SerializeToString()
    told = [*span.attributes.values(), *(value for link in span.links for value in link.attributes.values())]
    assert all(len(str(value)) <= LONGEST for value in (span.name, *told))
    assert handled.headers["traceparent"].split("-")[1:3] == [
        f"{span.context.trace_id:032x}",
        f"{span.context.span_id:016x}",
    ]


@given(SUBJECTS)
def test_of_subjects_there_are_as_many_labels_as_the_catalog_has_lines(subject):
    aggregates = {text.split(".")[2] for text in catalog().commands}
    about = {f"keys.{direction}.{each}.>" for direction in ("commands", "events") for each in aggregates}
    lines = {*catalog().routes, *catalog().commands}
    assert instruments.template_of(subject) in {*lines, *about, "keys.timers.*.due", "other"}


@pytest.mark.parametrize(
    "odd",
    [
        message({"CIM-Command-Id": 5}),
        message({"traceparent": TRACEPARENT, "tracestate": 5}),
        Msg(_client=Mock(), subject="keys.commands.key.generate", headers={}),
    ],
    ids=["a number", "a state that is none", "no metadata"],
)
def test_what_cannot_be_observed_is_handled_all_the_same(seen, odd):
    handled = []
    with seen.observe(odd):
        handled.append(odd)
    assert handled == [odd]
    assert seen.spans == ()


def test_a_consumer_that_is_not_in_the_catalog_is_read_all_the_same(seen):
    with seen.observe(message({}), "somebody-elses"):
        pass
    assert seen.spans == ()


def test_an_instrument_that_fails_hinders_nothing(seen):
    failing = Mock(create_histogram=Mock(return_value=Mock(record=Mock(side_effect=RuntimeError))))
    with instruments.observe(message({}), "key", instruments.Instruments(failing, seen.instruments.tracer)):
        pass


@pytest.mark.parametrize("error", [ValueError("secret"), asyncio.CancelledError("secret")])
def test_of_an_error_the_type_is_recorded_and_not_the_text(seen, error):
    with pytest.raises(type(error)), seen.observe(message({})):
        raise error
    (span,) = seen.spans
    assert span.attributes["error.type"] == type(error).__name__
    assert "secret" not in span.to_json()
    assert {"error.type": type(error).__name__}.items() <= {item for labels in seen.labels() for item in labels.items()}


def test_the_state_of_a_trace_that_is_not_carried_on_is_not_carried_on_either(seen):
    begun_anew = message({"traceparent": "rubbish", "tracestate": "vendor=1"})
    with seen.observe(begun_anew):
        pass
    assert "tracestate" not in begun_anew.headers
    carried_on = message({"traceparent": TRACEPARENT, "tracestate": "vendor=1", "CIM-Timestamp": "2999-01-01"})
    with seen.observe(carried_on):
        pass
    assert "tracestate" not in carried_on.headers


def test_a_log_line_belongs_to_a_conversation_only_under_an_id_of_ours(seen):
    own = uuid4()
    for header, expected in ((str(own), own), ("x" * 100_000, spans.message_id(message({})))):
        with seen.observe(message({"CIM-Correlation-Id": header})):
            assert instruments.current_message.get().correlation_id == str(expected)


def test_a_gauge_exports_the_values_of_its_last_set_only():
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    gauge = instruments.Gauge("pending", "", "", meter=meter)

    def exported():
        data = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        return {point.attributes["name"]: point.value for each in metrics for point in each.data.data_points}

    gauge.set("key", {(("name", "key"),): 5})
    gauge.set("saga", {(("name", "saga"),): 7})
    assert exported() == {"key": 5, "saga": 7}
    gauge.set("key", {})
    assert exported() == {"saga": 7}
