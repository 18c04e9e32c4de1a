"""Export of telemetry to an OpenTelemetry collector, by OTLP over HTTP.

Import it only if a collector is configured: the SDK costs 75 ms and 10 MB. It reads its own settings from the
environment variables of the OpenTelemetry specification.
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

_SHUTDOWN_TIMEOUT_S = 3.0
"""Limit of the last export when the process ends, so that an absent collector does not delay a drain."""


class DerivedIds(IdGenerator):
    """Generates the derived ids of the current message's span and trace; random ids outside a message."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        ids = spans.span_ids.get()
        return ids.span if ids is not None else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        ids = spans.span_ids.get()
        return ids.trace if ids is not None else self._random.generate_trace_id()


@contextmanager
def export_telemetry(service: str) -> Iterator[None]:
    """Exports spans and metrics while the body runs."""
    resource = Resource.create(
        {"service.namespace": "cim-keys", "service.name": f"cim-keys-{service}", "service.instance.id": str(uuid4())}
    )
    traces = TracerProvider(resource=resource, id_generator=DerivedIds(), shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    numbers = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(numbers)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns at each retry, once a second
    instruments.switch_on()
    try:
        yield
    finally:
        _shut_down(traces, numbers)


def _shut_down(*providers: TracerProvider | MeterProvider) -> None:
    threads = [threading.Thread(target=provider.shutdown, daemon=True) for provider in providers]
    for each in threads:
        each.start()
    for each in threads:
        each.join(_SHUTDOWN_TIMEOUT_S)
