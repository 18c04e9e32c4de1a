"""Metrics of sagas: they are true, and a metric that fails disturbs no saga."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.saga import metrics as measures
from services.saga.core import machine
from services.saga.core.state import Origin, Phase
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from shared.messages.ids import new_id
from shared.telemetry import instruments
from tests.support.fake_services import REQUEST

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def begun(at):
    request = PKI_BOOTSTRAP.request.model_validate({**REQUEST, "saga_id": str(new_id())}, strict=False)
    return machine.begin(
        PKI_BOOTSTRAP, request, Origin(command_id=new_id(), correlation_id=new_id(), actor="somebody", at=at), NOW
    )


@pytest.fixture(name="said")
def _said(monkeypatch):
    """What is exported of gauges."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(instruments, "_meter", MeterProvider([reader], shutdown_on_exit=False).get_meter("test"))
    for name in ("_active", "_oldest", "_stuck"):
        monkeypatch.setattr(measures, name, instruments.Gauge(name.strip("_"), "", ""))

    def said(name):
        data = reader.get_metrics_data()
        metrics = [each for scope in data.resource_metrics[0].scope_metrics for each in scope.metrics]
        points = [point for each in metrics if each.name == name for point in each.data.data_points]
        return {point.attributes.get("cim.saga.phase"): point.value for point in points}

    return said


def test_a_look_that_was_cut_short_is_not_counted_with_the_next_one(said):
    census = measures.Census(["pki-bootstrap"])
    census.begin()
    census.count(begun(NOW), NOW)  # and here the look is cut short
    census.begin()
    census.count(begun(NOW), NOW)
    census.report()
    assert said("active") == {"running": 1, "compensating": 0}
    assert said("stuck") == {None: 0}


def test_a_saga_that_says_it_began_in_the_future_has_a_span_that_can_be_exported(monkeypatch):
    exporter, traces = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(measures, "_tracer", traces.get_tracer("test"))
    monkeypatch.setattr("shared.telemetry.instruments._Switch.is_on", True)
    measures.record_end(replace(begun(datetime(9999, 12, 31, tzinfo=UTC)), phase=Phase.COMPLETED), NOW)
    (span,) = exporter.get_finished_spans()
    encode_spans([span]).SerializeToString()
    assert span.start_time == span.end_time


def test_an_end_that_cannot_be_measured_hinders_no_saga(monkeypatch):
    monkeypatch.setattr(measures, "_durations", None)
    monkeypatch.setattr("shared.telemetry.instruments._Switch.is_on", True)
    measures.record_end(replace(begun(NOW), phase=Phase.COMPLETED), NOW)
