"""Metrics of sagas: they are true, and a metric that fails disturbs no saga."""

from dataclasses import replace
from datetime import UTC, datetime

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.saga import metrics
from services.saga.core import machine
from services.saga.core.state import Origin, Phase
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from shared.messages.ids import new_id
from tests.support.fake_services import REQUEST

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def started_saga(at):
    request = PKI_BOOTSTRAP.request.model_validate({**REQUEST, "saga_id": str(new_id())}, strict=False)
    return machine.begin(
        PKI_BOOTSTRAP, request, Origin(command_id=new_id(), correlation_id=new_id(), actor="somebody", at=at), NOW
    )


def instruments(*, readers=(), traces=None):
    meter = MeterProvider(readers, shutdown_on_exit=False).get_meter("test")
    return metrics.SagaInstruments(meter, (traces or TracerProvider(shutdown_on_exit=False)).get_tracer("test"))


def exported_by(reader):
    """Returns a function from a gauge's name to its exported values by phase."""

    def exported(name):
        data = reader.get_metrics_data()
        gauges = [each for scope in data.resource_metrics[0].scope_metrics for each in scope.metrics]
        points = [point for each in gauges if each.name == f"cim_keys.saga.{name}" for point in each.data.data_points]
        return {point.attributes.get("cim.saga.phase"): point.value for point in points}

    return exported


def test_a_look_that_was_cut_short_is_not_counted_with_the_next_one():
    reader = InMemoryMetricReader()
    census, exported = metrics.Census(["pki-bootstrap"], instruments(readers=[reader])), exported_by(reader)
    census.begin()
    census.count(started_saga(NOW), NOW)  # and here the look is cut short
    census.begin()
    census.count(started_saga(NOW), NOW)
    census.report()
    assert exported("active") == {"running": 1, "compensating": 0}
    assert exported("stuck") == {None: 0}


def test_a_saga_that_says_it_began_in_the_future_has_a_span_that_can_be_exported():
    exporter, traces = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    ended = replace(started_saga(datetime(9999, 12, 31, tzinfo=UTC)), phase=Phase.COMPLETED)
    metrics.record_end(ended, NOW, instruments(traces=traces))
    (span,) = exporter.get_finished_spans()
    encode_spans([span]).SerializeToString()
    assert span.start_time == span.end_time


def test_an_end_that_cannot_be_measured_hinders_no_saga():
    broken = instruments()
    broken.durations = None
    metrics.record_end(replace(started_saga(NOW), phase=Phase.COMPLETED), NOW, broken)
