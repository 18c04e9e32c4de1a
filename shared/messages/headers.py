"""The CIM headers: where a message comes from, told without opening it (docs/contract.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from shared.errors import Poison
from shared.messages.ids import derive_id
from shared.messages.subjects import Subject

_TRACE = ("traceparent", "tracestate")
CONTENT_TYPE = "application/json"
_LONGEST = 256
_LONGEST_TRACE = 512


@dataclass(frozen=True, slots=True)
class SagaContext:
    """The saga, and the step of it, on whose behalf something is asked."""

    saga_type: str
    saga_id: str
    step: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which message this is, which conversation it belongs to, what caused it, and who asked in the first place."""

    message_id: UUID
    correlation_id: UUID
    causation_id: UUID
    actor: str = "anonymous"
    saga: SagaContext | None = None
    trace: tuple[tuple[str, str], ...] = ()

    @classmethod
    def root(cls, message_id: UUID, actor: str = "anonymous") -> Lineage:
        """The lineage of a message that nothing caused: it names itself."""
        return cls(message_id, message_id, message_id, actor)

    def cause(self, consequence: str) -> Lineage:
        """The lineage of what this message leads to; its id is derived, so telling this twice leads to it once."""
        return replace(self, message_id=derive_id(self.message_id, consequence), causation_id=self.message_id)


def to_headers(
    lineage: Lineage, kind: Literal["Event", "Command"], message_type: str, source: str, version: int
) -> dict[str, str]:
    """All headers that do not depend on the aggregate."""
    headers = {
        "Nats-Msg-Id": str(lineage.message_id),
        f"CIM-{kind}-Id": str(lineage.message_id),
        f"CIM-{kind}-Type": message_type,
        "CIM-Correlation-Id": str(lineage.correlation_id),
        "CIM-Causation-Id": str(lineage.causation_id),
        "CIM-Timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "CIM-Source": source,
        "CIM-Actor": lineage.actor,
        "CIM-Schema-Version": str(version),
        "CIM-Content-Type": CONTENT_TYPE,
        **dict(lineage.trace),
    }
    if lineage.saga:
        headers |= {"CIM-Saga-Id": lineage.saga.saga_id, "CIM-Saga-Type": lineage.saga.saga_type}
        headers |= {"CIM-Saga-Step": lineage.saga.step} if lineage.saga.step else {}
    return headers


def command_lineage(headers: Mapping[str, str], if_absent: UUID) -> Lineage:
    """Who a command says it is; what it leaves out follows from *if_absent*. Raises Poison naming the bad header."""
    message_id = _uuid(headers, "CIM-Command-Id") or if_absent
    return Lineage(
        message_id,
        _uuid(headers, "CIM-Correlation-Id") or message_id,
        _uuid(headers, "CIM-Causation-Id") or message_id,
        _actor(headers),
        _saga(headers),
        _trace(headers),
    )


def require_content(headers: Mapping[str, str]) -> None:
    """Raises Poison for a body that its headers say is of a kind, or of a schema's version, that is not read here."""
    if (kind := headers.get("CIM-Content-Type", CONTENT_TYPE).partition(";")[0].strip().lower()) != CONTENT_TYPE:
        raise Poison(
            f"header CIM-Content-Type must be {CONTENT_TYPE}" + (f", not {kind}" if kind.isprintable() else "")
        )
    if headers.get("CIM-Schema-Version", "1") != "1":
        raise Poison("header CIM-Schema-Version must be 1, the only version that there is of every command")


def event_lineage(headers: Mapping[str, str]) -> Lineage:
    """Who an event says it is. Raises Poison: an event of the suite always carries its ids."""
    event_id, correlation, causation = (
        _uuid(headers, name) for name in ("CIM-Event-Id", "CIM-Correlation-Id", "CIM-Causation-Id")
    )
    if event_id is None or correlation is None or causation is None:
        raise Poison("an event must carry CIM-Event-Id, CIM-Correlation-Id and CIM-Causation-Id")
    return Lineage(event_id, correlation, causation, _actor(headers), _saga(headers), _trace(headers))


def _uuid(headers: Mapping[str, str], name: str) -> UUID | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise Poison(f"header {name} must be a UUID") from error


def _actor(headers: Mapping[str, str]) -> str:
    return _word("CIM-Actor", headers.get("CIM-Actor") or headers.get("CIM-Source") or "anonymous")


def _saga(headers: Mapping[str, str]) -> SagaContext | None:
    if "CIM-Saga-Id" not in headers:
        return None
    saga_type, saga_id = (_token(name, headers.get(name, "")) for name in ("CIM-Saga-Type", "CIM-Saga-Id"))
    return SagaContext(saga_type, saga_id, _word("CIM-Saga-Step", headers.get("CIM-Saga-Step", "")))


def _trace(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What is inherited of a trace; one that is not to be carried on is dropped, as W3C Trace Context asks."""
    return tuple(
        (name, value)
        for name in _TRACE
        if (value := headers.get(name, "")) and len(value) <= _LONGEST_TRACE and value.isprintable()
    )


def _token(name: str, value: str) -> str:
    """A header's value that becomes part of a subject."""
    try:
        literal = Subject((_word(name, value),)).literal if value else True
    except ValueError:
        literal = False
    if not literal:
        raise Poison(f"header {name} must be one subject token ([A-Za-z0-9_-]+)")
    return value


def _word(name: str, value: str) -> str:
    """A header's value that everything which the message leads to carries on: so it must fit into every one of them."""
    if len(value) > _LONGEST or not value.isprintable():
        raise Poison(f"header {name} must be printable and at most {_LONGEST} characters")
    return value
