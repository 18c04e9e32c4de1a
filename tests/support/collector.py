"""An OpenTelemetry collector for tests: receives OTLP over HTTP and returns the spans and points."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """An exported span; ids in hexadecimal, times in nanoseconds."""

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
    """The last value of a metric under one set of labels; *count* and *buckets* of a histogram, with its sum as
    *value*; *value* alone of anything else."""

    service: str
    instance: str
    kind: str
    name: str
    labels: dict
    count: int
    value: float
    buckets: list[tuple[float, int]]
    unit: str


@dataclass
class Collector:
    port: int = 0
    spans: list[Span] = field(default_factory=list)
    points: dict = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self):
        """Returns the environment of a process that exports here, with short intervals."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def of(self, trace_id):
        return [span for span in self.spans if span.trace_id == trace_id]

    def values(self, name, **labels):
        """Returns the points of a metric with these labels (a dot is written as two underscores)."""
        required = {key.replace("__", "."): value for key, value in labels.items()}
        return [each for each in self.points.values() if each.name == name and required.items() <= each.labels.items()]

    def receive(self, path, body):
        self.bodies.append(body)
        if path == "/v1/traces":
            self._receive_spans(ExportTraceServiceRequest.FromString(body))
        else:
            self._receive_metrics(ExportMetricsServiceRequest.FromString(body))

    def _receive_spans(self, request):
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for span in (each for scope in resource.scope_spans for each in scope.spans):
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                links = [(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links]
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                failed = span.status.code == span.status.STATUS_CODE_ERROR
                self.spans.append(Span(service, span.name, *ids, *times, failed, _attributes(span.attributes), links))

    def _receive_metrics(self, request):
        for resource in request.resource_metrics:
            source = _attributes(resource.resource.attributes)
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    labels = _attributes(point.attributes)
                    key = (source["service.instance.id"], metric.name, tuple(sorted(labels.items())))
                    identity = source["service.name"], source["service.instance.id"], kind, metric.name, labels
                    self.points[key] = Point(*identity, *_value(point, kind), metric.unit)


def _value(point, kind):
    if kind != "histogram":
        return 1, point.as_double or point.as_int, []
    limits, counts = [*point.explicit_bounds, float("inf")], itertools.accumulate(point.bucket_counts)
    return point.count, point.sum, list(zip(limits, counts, strict=True))


def exposition(points):
    """Returns the points in Prometheus's text format, named by OpenTelemetry's rules for Prometheus."""
    lines = []
    for point in points:
        name = point.name.replace(".", "_") + ("_seconds" if point.unit == "s" else "")
        labels = {"job": f"cim-keys/{point.service}", "instance": point.instance, **point.labels}
        if point.kind == "histogram":
            lines += [_line(f"{name}_bucket", {**labels, "le": f"{limit:g}"}, n) for limit, n in point.buckets]
            lines += [_line(f"{name}_count", labels, point.count), _line(f"{name}_sum", labels, point.value)]
        else:
            lines.append(_line(f"{name}_total" if point.kind == "sum" else name, labels, point.value))
    return "".join(lines).replace('le="inf"', 'le="+Inf"')


def _line(name, labels, value):
    pairs = ",".join(f"{key.replace('.', '_')}={json.dumps(str(label))}" for key, label in labels.items())
    return f"{name}{{{pairs}}} {value}\n"


def _attributes(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            collector.receive(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            body = exposition(list(collector.points.values())).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

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
