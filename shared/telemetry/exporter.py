"""Telemetry on its way out: to an OpenTelemetry collector, by OTLP over HTTP.

Imported only where a collector is configured: the SDK costs a process that has no use for it 75 ms and 10 MB. Its own
settings it reads by itself, from the environment variables of the OpenTelemetry specification.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from shared.telemetry import instruments, spans

_LEAVING = 3.0
"""Seconds that the last of it may take when the process ends: a collector that is away holds up no drain."""


class DerivedIds(IdGenerator):
    """The ids that the message being handled gives its span and, where it begins one, its trace; else random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        named = spans.span_ids.get()
        return named.span if named is not None else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        named = spans.span_ids.get()
        return named.trace if named is not None else self._random.generate_trace_id()


@contextmanager
def export_telemetry(service: str) -> Iterator[None]:
    """Export for as long as the body runs what is observed in it."""
    resource = Resource.create(
        {"service.namespace": "cim-keys", "service.name": f"cim-keys-{service}", "service.instance.id": str(uuid4())}
    )
    traces = TracerProvider(resource=resource, id_generator=DerivedIds(), shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    numbers = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(numbers)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # each try is a warning, and a try comes each second
    instruments.switch_on()
    try:
        yield
    finally:
        _leave(traces, numbers)


def _leave(*providers: TracerProvider | MeterProvider) -> None:
    leaving = [threading.Thread(target=provider.shutdown, daemon=True) for provider in providers]
    for each in leaving:
        each.start()
    for each in leaving:
        each.join(_LEAVING)
