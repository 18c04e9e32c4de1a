"""The span of a message that is handled: the trace that it carries on, its own id, and what it points to.

Ids are derived from the message's: so a crash tears no trace, a delivery can point to the one before it, and what a
saga asks to what led to it (docs/adr/0026).
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

_FRESH = timedelta(hours=1)
"""What was told longer ago is another story: it begins a trace of its own that points to the old one."""

_LONGEST = 256
_PROPAGATOR = TraceContextTextMapPropagator()
_MESSAGE_IDS = (Header.COMMAND_ID, Header.EVENT_ID)
_tracer = trace.get_tracer("cim-keys")


@dataclass(frozen=True, slots=True)
class SpanIds:
    """What a span is to be called: its own id, and its trace's where it begins one."""

    span: int
    trace: int


span_ids: ContextVar[SpanIds | None] = ContextVar("ids", default=None)
"""For the id generator of `shared.telemetry.exporter`, which is asked without being told for what."""


def span_id(message_id: UUID, reader: str, delivery: int) -> int:
    """The id of the span in which the service *reader* handled that delivery of a message."""
    return int.from_bytes(sha256(message_id.bytes + f"/{reader}/{delivery}".encode()).digest()[:8]) or 1


def extract_context(headers: Mapping[str, str]) -> Context:
    """What *headers* say of a trace, by W3C Trace Context; what they say wrongly counts for nothing."""
    return _PROPAGATOR.extract(dict(headers))


def correlation_id_of(message: Msg) -> UUID:
    """The conversation that it says it belongs to; if it does not say so in words of ours, it begins one."""
    return _uuid((message.headers or {}).get(Header.CORRELATION_ID)) or message_id(message)


def message_id(message: Msg) -> UUID:
    """Its own, or for want of one that of its place in the stream."""
    headers, metadata = message.headers or {}, message.metadata
    said = (_uuid(headers.get(name)) for name in _MESSAGE_IDS)
    known = next((each for each in said if each is not None), None)
    return known or id_from_stream_position(metadata.stream, metadata.sequence.stream, metadata.timestamp)


def start_span(message: Msg, durable: str, labels: Mapping[str, str]) -> trace.Span:
    """The span of *message*, whose headers carry it on from here: all that it leads to is under it."""
    span = _started(message, durable, labels)
    carried: dict[str, str] = {}
    _PROPAGATOR.inject(carried, trace.set_span_in_context(span))
    kept = {name: value for name, value in (message.headers or {}).items() if name not in _PROPAGATOR.fields}
    message.headers = kept | carried
    return span


def _started(message: Msg, durable: str, labels: Mapping[str, str]) -> trace.Span:
    own, reader, fresh = message_id(message), catalog().consumers[durable].reader, _is_fresh(message)
    brought = extract_context(message.headers or {})
    origin = trace.get_current_span(brought).get_span_context()
    goes_on, new_trace = fresh and origin.is_valid, _new_trace(message, own, fresh=fresh)
    links = [*_links(message, reader, own, origin.trace_id if goes_on else new_trace)]
    if origin.is_valid and not fresh:
        links.append(trace.Link(origin, {"cim.link": "origin"}))
    named = span_ids.set(SpanIds(span_id(own, reader, message.metadata.num_delivered), new_trace))
    try:
        return _tracer.start_span(
            f"process {labels['messaging.destination.template']}",
            context=brought if goes_on else trace.set_span_in_context(trace.INVALID_SPAN),
            kind=trace.SpanKind.CONSUMER,
            attributes={**labels, **_about(message, own)},
            links=links,
        )
    finally:
        span_ids.reset(named)


def _links(message: Msg, reader: str, own: UUID, trace_id: int) -> Iterator[trace.Link]:
    """To the delivery before this one; of what a saga asks, to the coordinator's span that led to its being asked."""
    headers, deliveries = message.headers or {}, message.metadata.num_delivered
    if deliveries > 1:
        yield _link(trace_id, span_id(own, reader, deliveries - 1), "redelivery")
    cause = _uuid(headers.get(Header.CAUSATION_ID))
    if cause is not None and Header.SAGA_ID in headers and message.subject.startswith("keys.commands."):
        yield _link(trace_id, span_id(cause, "saga", 1), "cause")


def _link(trace_id: int, other: int, kind: str) -> trace.Link:
    return trace.Link(trace.SpanContext(trace_id, other, is_remote=True), {"cim.link": kind})


def _about(message: Msg, own: UUID) -> dict[str, str | int]:
    """Attributes of a span; never labels, for there are as many values as messages."""
    headers = message.headers or {}
    told = {
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
        "messaging.message.id": str(own),
        "nats.stream.sequence": message.metadata.sequence.stream,
        "nats.delivery": message.metadata.num_delivered,
        **{name: _readable(value) for name, value in told.items() if value},
    }


def _new_trace(message: Msg, own: UUID, *, fresh: bool) -> int:
    """The id of a trace that begins here: the conversation's, so that who knows the one has the other."""
    correlation = _uuid((message.headers or {}).get(Header.CORRELATION_ID)) if fresh else None
    return (correlation or own).int or 1


def _is_fresh(message: Msg) -> bool:
    try:
        at = datetime.fromisoformat((message.headers or {}).get(Header.TIMESTAMP, ""))
    except ValueError:
        at = message.metadata.timestamp
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return abs(datetime.now(UTC) - at) < _FRESH


def _readable(text: str) -> str:
    """What a stranger may have written, as an attribute: never longer than a header of ours, and text (what is no
    UTF-8 would cost the whole batch of spans that it is exported with)."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_LONGEST])


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
