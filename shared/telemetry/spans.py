"""Spans of handled messages: trace continuation, ids and links.

Span ids are derived from message ids. So a crash does not break a trace, a redelivery links to the delivery before it,
and a saga's command links to its cause (docs/adr/0026).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from nats.aio.msg import Msg
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.messages.catalog import catalog
from shared.messages.headers import Header
from shared.messages.ids import id_from_stream_position

_MAX_AGE = timedelta(hours=1)
"""Age up to which a message continues its trace; an older one starts a trace of its own with a link to the old one."""

_MAX_CHARACTERS = 256
_PROPAGATOR = TraceContextTextMapPropagator()
_MESSAGE_IDS = (Header.COMMAND_ID, Header.EVENT_ID)


@dataclass(frozen=True, slots=True)
class SpanIds:
    """Ids for the next span: its own, and its trace's if it starts one."""

    span: int
    trace: int


span_ids: ContextVar[SpanIds | None] = ContextVar("ids", default=None)
"""Read by the id generator of `shared.telemetry.exporter`, which gets no arguments."""


def span_id(message_id: UUID, reader: str, delivery: int) -> int:
    """Derives the id of the span in which the service *reader* handled one delivery of a message."""
    return int.from_bytes(sha256(message_id.bytes + f"/{reader}/{delivery}".encode()).digest()[:8]) or 1


def extract_context(headers: Mapping[str, str]) -> Context:
    """Extracts the trace context (W3C) of *headers*; a malformed one is ignored."""
    return _PROPAGATOR.extract(dict(headers))


def correlation_id_of(message: Msg) -> UUID:
    """Returns the correlation id of the message, or its own id if the header is absent or malformed."""
    return _uuid((message.headers or {}).get(Header.CORRELATION_ID)) or message_id(message)


def message_id(message: Msg) -> UUID:
    """Returns the id of the message, or one derived from its stream position."""
    headers, metadata = message.headers or {}, message.metadata
    candidates = (_uuid(headers.get(name)) for name in _MESSAGE_IDS)
    found = next((each for each in candidates if each is not None), None)
    return found or id_from_stream_position(metadata.stream, metadata.sequence.stream, metadata.timestamp)


def start_span(message: Msg, durable: str, labels: Mapping[str, str], tracer: trace.Tracer) -> trace.Span:
    """Starts the span of *message* and writes it into the headers, so that messages it causes are children."""
    span = _start(message, durable, labels, tracer)
    trace_headers: dict[str, str] = {}
    _PROPAGATOR.inject(trace_headers, trace.set_span_in_context(span))
    other_headers = {name: value for name, value in (message.headers or {}).items() if name not in _PROPAGATOR.fields}
    message.headers = other_headers | trace_headers
    return span


def _start(message: Msg, durable: str, labels: Mapping[str, str], tracer: trace.Tracer) -> trace.Span:
    own_id, reader, fresh = message_id(message), catalog().consumers[durable].reader, _is_fresh(message)
    context = extract_context(message.headers or {})
    origin = trace.get_current_span(context).get_span_context()
    goes_on, new_trace = fresh and origin.is_valid, _new_trace(message, own_id, fresh=fresh)
    links = [*_links(message, reader, own_id, origin.trace_id if goes_on else new_trace)]
    if origin.is_valid and not fresh:
        links.append(trace.Link(origin, {"cim.link": "origin"}))
    token = span_ids.set(SpanIds(span_id(own_id, reader, message.metadata.num_delivered), new_trace))
    try:
        return tracer.start_span(
            f"process {labels['messaging.destination.template']}",
            context=context if goes_on else trace.set_span_in_context(trace.INVALID_SPAN),
            kind=trace.SpanKind.CONSUMER,
            attributes={**labels, **_about(message, own_id)},
            links=links,
        )
    finally:
        span_ids.reset(token)


def _links(message: Msg, reader: str, own_id: UUID, trace_id: int) -> Iterator[trace.Link]:
    """Yields links to the previous delivery, and from a saga's command to the coordinator's span that caused it."""
    headers, deliveries = message.headers or {}, message.metadata.num_delivered
    if deliveries > 1:
        yield _link(trace_id, span_id(own_id, reader, deliveries - 1), "redelivery")
    cause = _uuid(headers.get(Header.CAUSATION_ID))
    if cause is not None and Header.SAGA_ID in headers and message.subject.startswith("keys.commands."):
        yield _link(trace_id, span_id(cause, "saga", 1), "cause")


def _link(trace_id: int, other: int, kind: str) -> trace.Link:
    return trace.Link(trace.SpanContext(trace_id, other, is_remote=True), {"cim.link": kind})


def _about(message: Msg, own_id: UUID) -> dict[str, str | int]:
    """Attributes of a span. They are never labels, because their values are unbounded."""
    headers = message.headers or {}
    optional = {
        "messaging.conversation_id": headers.get(Header.CORRELATION_ID),
        "cim.saga.id": headers.get(Header.SAGA_ID),
        "cim.saga.type": headers.get(Header.SAGA_TYPE),
        "cim.saga.step": headers.get(Header.SAGA_STEP),
    }
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": _readable(message.subject),
        "messaging.message.id": str(own_id),
        "nats.stream.sequence": message.metadata.sequence.stream,
        "nats.delivery": message.metadata.num_delivered,
        **{name: _readable(value) for name, value in optional.items() if value},
    }


def _new_trace(message: Msg, own_id: UUID, *, fresh: bool) -> int:
    """Returns the id of a new trace: the correlation id, so that one is found by the other."""
    correlation = _uuid((message.headers or {}).get(Header.CORRELATION_ID)) if fresh else None
    return (correlation or own_id).int or 1


def _is_fresh(message: Msg) -> bool:
    try:
        at = datetime.fromisoformat((message.headers or {}).get(Header.TIMESTAMP, ""))
    except ValueError:
        at = message.metadata.timestamp
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return abs(datetime.now(UTC) - at) < _MAX_AGE


def _readable(text: str) -> str:
    """Truncates and cleans an untrusted value: one that is not UTF-8 would lose the whole batch of spans."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_MAX_CHARACTERS])


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
