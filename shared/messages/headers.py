"""Headers of the suite's messages: their names, and the lineage they carry (docs/contract.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

from shared.errors import Poison
from shared.messages.ids import derive_id
from shared.messages.subjects import Subject

CONTENT_TYPE = "application/json"
_TRACE_HEADERS = ("traceparent", "tracestate")
_MAX_VALUE_CHARACTERS = 256
_MAX_TRACE_CHARACTERS = 512


class Header:
    """Names of the suite's own headers."""

    COMMAND_ID: Final = "CIM-Command-Id"
    COMMAND_TYPE: Final = "CIM-Command-Type"
    EVENT_ID: Final = "CIM-Event-Id"
    EVENT_TYPE: Final = "CIM-Event-Type"
    AGGREGATE_ID: Final = "CIM-Aggregate-Id"
    AGGREGATE_TYPE: Final = "CIM-Aggregate-Type"
    CORRELATION_ID: Final = "CIM-Correlation-Id"
    CAUSATION_ID: Final = "CIM-Causation-Id"
    TIMESTAMP: Final = "CIM-Timestamp"
    SOURCE: Final = "CIM-Source"
    ACTOR: Final = "CIM-Actor"
    SCHEMA_VERSION: Final = "CIM-Schema-Version"
    CONTENT_TYPE: Final = "CIM-Content-Type"
    SAGA_ID: Final = "CIM-Saga-Id"
    SAGA_TYPE: Final = "CIM-Saga-Type"
    SAGA_STEP: Final = "CIM-Saga-Step"
    SAGA_PHASE: Final = "CIM-Saga-Phase"
    SEQUENCE: Final = "CIM-Sequence"


class NatsHeader:
    """Names of headers that nats-server reads or writes."""

    MSG_ID: Final = "Nats-Msg-Id"
    EXPECTED_LAST_SUBJECT_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
    PENDING_MESSAGES: Final = "Nats-Pending-Messages"
    SUBJECT: Final = "Nats-Subject"
    SEQUENCE: Final = "Nats-Sequence"
    TIME_STAMP: Final = "Nats-Time-Stamp"
    SCHEDULE: Final = "Nats-Schedule"
    SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
    KV_OPERATION: Final = "KV-Operation"


@dataclass(frozen=True, slots=True)
class SagaContext:
    """The saga, and its step, that sent a command."""

    saga_type: str
    saga_id: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A message's id, its conversation, its cause, and the actor that began the conversation."""

    message_id: UUID
    correlation_id: UUID
    causation_id: UUID
    actor: str = "anonymous"
    saga: SagaContext | None = None
    trace: tuple[tuple[str, str], ...] = ()

    @classmethod
    def root(cls, message_id: UUID, actor: str = "anonymous") -> Lineage:
        """Lineage of a message without a cause: its id is also its correlation id and causation id."""
        return cls(message_id=message_id, correlation_id=message_id, causation_id=message_id, actor=actor)

    def cause(self, consequence: str) -> Lineage:
        """Lineage of a message that this one causes; its id is derived, so a redelivered cause has the same effect."""
        return replace(self, message_id=derive_id(self.message_id, consequence), causation_id=self.message_id)


def to_headers(
    lineage: Lineage, kind: Literal["Event", "Command"], message_type: str, source: str, version: int
) -> dict[str, str]:
    """Builds all headers that do not depend on the aggregate."""
    id_header, type_header = {
        "Event": (Header.EVENT_ID, Header.EVENT_TYPE),
        "Command": (Header.COMMAND_ID, Header.COMMAND_TYPE),
    }[kind]
    headers = {
        NatsHeader.MSG_ID: str(lineage.message_id),
        id_header: str(lineage.message_id),
        type_header: message_type,
        Header.CORRELATION_ID: str(lineage.correlation_id),
        Header.CAUSATION_ID: str(lineage.causation_id),
        Header.TIMESTAMP: datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        Header.SOURCE: source,
        Header.ACTOR: lineage.actor,
        Header.SCHEMA_VERSION: str(version),
        Header.CONTENT_TYPE: CONTENT_TYPE,
        **dict(lineage.trace),
    }
    if lineage.saga:
        headers |= {Header.SAGA_ID: lineage.saga.saga_id, Header.SAGA_TYPE: lineage.saga.saga_type}
        headers |= {Header.SAGA_STEP: lineage.saga.step} if lineage.saga.step else {}
    return headers


def command_lineage(headers: Mapping[str, str], if_absent: UUID) -> Lineage:
    """Reads the lineage of a command; *if_absent* is its id where it has none. Raises Poison naming the bad header."""
    message_id = _uuid(headers, Header.COMMAND_ID) or if_absent
    return Lineage(
        message_id=message_id,
        correlation_id=_uuid(headers, Header.CORRELATION_ID) or message_id,
        causation_id=_uuid(headers, Header.CAUSATION_ID) or message_id,
        actor=_actor(headers),
        saga=_saga(headers),
        trace=_trace(headers),
    )


def event_lineage(headers: Mapping[str, str]) -> Lineage:
    """Reads the lineage of an event. Raises Poison without its three ids: every event of the suite carries them."""
    event_id, correlation, causation = (
        _uuid(headers, name) for name in (Header.EVENT_ID, Header.CORRELATION_ID, Header.CAUSATION_ID)
    )
    if event_id is None or correlation is None or causation is None:
        raise Poison("an event must carry CIM-Event-Id, CIM-Correlation-Id and CIM-Causation-Id")
    return Lineage(
        message_id=event_id,
        correlation_id=correlation,
        causation_id=causation,
        actor=_actor(headers),
        saga=_saga(headers),
        trace=_trace(headers),
    )


def schema_version(headers: Mapping[str, str] | None) -> str:
    """Version of the body's schema; 1 where the header is absent."""
    return (headers or {}).get(Header.SCHEMA_VERSION, "1")


def require_content(headers: Mapping[str, str]) -> None:
    """Raises Poison for a command whose content type is not JSON, or whose schema version is not 1."""
    if (kind := headers.get(Header.CONTENT_TYPE, CONTENT_TYPE).partition(";")[0].strip().lower()) != CONTENT_TYPE:
        raise Poison(
            f"header CIM-Content-Type must be {CONTENT_TYPE}" + (f", not {kind}" if kind.isprintable() else "")
        )
    if schema_version(headers) != "1":
        raise Poison("header CIM-Schema-Version must be 1, the only version of every command")


def _uuid(headers: Mapping[str, str], name: str) -> UUID | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise Poison(f"header {name} must be a UUID") from error


def _actor(headers: Mapping[str, str]) -> str:
    return _printable(Header.ACTOR, headers.get(Header.ACTOR) or headers.get(Header.SOURCE) or "anonymous")


def _saga(headers: Mapping[str, str]) -> SagaContext | None:
    if Header.SAGA_ID not in headers:
        return None
    saga_type, saga_id = (_token(name, headers.get(name, "")) for name in (Header.SAGA_TYPE, Header.SAGA_ID))
    return SagaContext(saga_type, saga_id, _printable(Header.SAGA_STEP, headers.get(Header.SAGA_STEP, "")))


def _trace(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Reads the trace headers; an unusable one is dropped, as W3C Trace Context demands."""
    return tuple(
        (name, value)
        for name in _TRACE_HEADERS
        if (value := headers.get(name, "")) and len(value) <= _MAX_TRACE_CHARACTERS and value.isprintable()
    )


def _token(name: str, value: str) -> str:
    """Checks a header value that becomes part of a subject."""
    try:
        literal = Subject((_printable(name, value),)).literal if value else True
    except ValueError:
        literal = False
    if not literal:
        raise Poison(f"header {name} must be one subject token ([A-Za-z0-9_-]+)")
    return value


def _printable(name: str, value: str) -> str:
    """Checks a header value that every message of the conversation repeats, so it must fit into each of them."""
    if len(value) > _MAX_VALUE_CHARACTERS or not value.isprintable():
        raise Poison(f"header {name} must be printable and at most {_MAX_VALUE_CHARACTERS} characters")
    return value
