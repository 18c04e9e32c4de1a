"""An OpenTelemetry collector for tests: takes OTLP over HTTP, and tells what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """As exported; ids in hexadecimal, times in nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: dict
    links: list


@dataclass(frozen=True)
class Point:
    """The last of a metric's values under one set of labels; *count* of a histogram, *value* of anything else."""

    service: str
    name: str
    labels: dict
    count: int
    value: float


@dataclass
class Collector:
    port: int = 0
    spans: list[Span] = field(default_factory=list)
    points: dict = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self):
        """What a process is told whose telemetry is to come here, without much delay."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def of(self, trace_id):
        return [span for span in self.spans if span.trace_id == trace_id]

    def values(self, name, **labels):
        """The points of a metric that have these labels (a dot is written as two underscores)."""
        wanted = {key.replace("__", "."): value for key, value in labels.items()}
        return [each for each in self.points.values() if each.name == name and wanted.items() <= each.labels.items()]

    def take(self, path, body):
        self.bodies.append(body)
        if path == "/v1/traces":
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        else:
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))

    def _take_spans(self, request):
        for resource in request.resource_spans:
            service = _told(resource.resource.attributes)["service.name"]
            for span in (each for scope in resource.scope_spans for each in scope.spans):
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                links = [(link.trace_id.hex(), link.span_id.hex(), _told(link.attributes)) for link in span.links]
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                failed = span.status.code == span.status.STATUS_CODE_ERROR
                self.spans.append(Span(service, span.name, *ids, *times, failed, _told(span.attributes), links))

    def _take_metrics(self, request):
        for resource in request.resource_metrics:
            about = _told(resource.resource.attributes)
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    labels = _told(point.attributes)
                    key = (about["service.instance.id"], metric.name, tuple(sorted(labels.items())))
                    is_histogram = kind == "histogram"
                    value = point.sum if is_histogram else point.as_double or point.as_int
                    count = point.count if is_histogram else 1
                    self.points[key] = Point(about["service.name"], metric.name, labels, count, value)


def _told(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_port
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
