"""Envelopes: encoding of commands and events as NATS messages, and decoding with validation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from nats.aio.msg import Msg
from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails, from_json

from shared.contracts.base import Command, Event, Message, UnknownSchemaVersion
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import Completed, StartSaga
from shared.decider import Context, Rejection
from shared.errors import Poison
from shared.messages.catalog import COMMANDS, EVENTS, catalog
from shared.messages.headers import (
    Header,
    Lineage,
    command_lineage,
    event_lineage,
    require_content,
    schema_version,
    to_headers,
)
from shared.messages.ids import derive_id, id_from_stream_position
from shared.messages.subjects import Subject

_MAX_PROBLEMS = 10
_NO_HEADERS: Mapping[str, str] = {}
_AGGREGATE_ID = re.compile(r"[0-9a-f-]{1,36}")
_NOT_AN_OBJECT = ("json_invalid", "model_type", "model_attributes_type")

C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to publish. Publishing it twice is idempotent: the stream deduplicates by its Nats-Msg-Id."""

    subject: str
    payload: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedCommand(Generic[C]):
    """A decoded command, or the rejection of a malformed one; *aggregate_id* is None if the body does not name it.

    *named*: the client chose the id, so it may send the command again. (A saga also does, but never after an outcome.)
    """

    lineage: Lineage
    command_type: str
    aggregate_id: str | None
    at: datetime
    body: C | Rejection
    named: bool = False

    def context(self) -> Context:
        return Context(
            command_id=self.lineage.message_id,
            aggregate_id=self.aggregate_id or "",
            at=self.at,
            actor=self.lineage.actor,
        )


def subject_of(message: Message) -> Subject:
    """Returns the subject of *message* from subjects.yaml; saga starts and completions need no line (docs/adr/0022)."""
    pattern = catalog().patterns.get(type(message).__name__)
    if pattern is not None:
        return pattern.fill(*message.subject_tokens)
    match message:
        case StartSaga():
            return _start_of(type(message))
        case Completed(saga_type=saga_type, saga_id=saga_id):
            return EVENTS + Subject(("saga", saga_type, "completed", saga_id))
        case _:
            raise LookupError(f"{type(message).__name__} has no line in subjects.yaml")


def _start_of(kind: type[StartSaga]) -> Subject:
    return COMMANDS + Subject(("saga", kind.saga_type(), "start"))


def encode_event(event: Event, lineage: Lineage, source: str) -> OutgoingMessage:
    headers = to_headers(lineage, "Event", type(event).__name__, source, event.schema_version)
    headers[Header.AGGREGATE_ID] = event.identity
    headers[Header.AGGREGATE_TYPE] = event.aggregate_type
    return OutgoingMessage(str(subject_of(event)), event.model_dump_json().encode(), headers)


def encode_command(command: Command, lineage: Lineage, source: str) -> OutgoingMessage:
    headers = to_headers(lineage, "Command", type(command).__name__, source, command.schema_version)
    excluded = None if command.identity else {command.identified_by}  # its reader derives it from the command's id
    return OutgoingMessage(str(subject_of(command)), command.model_dump_json(exclude=excluded).encode(), headers)


def decode_event(message: Msg, event_types: Mapping[str, type[E]]) -> tuple[Lineage, E]:
    """Decodes an event of one of *event_types*. Raises Poison for any other message."""
    headers = message.headers or _NO_HEADERS
    kind = event_types.get(headers.get(Header.EVENT_TYPE, ""))
    if kind is None:
        raise Poison(f"{message.subject} is of a type unknown here: {headers.get('CIM-Event-Type')!r}")
    try:
        return event_lineage(headers), kind.from_stored(message.data, schema_version(headers))
    except UnknownSchemaVersion as error:
        raise Poison(f"{message.subject} cannot be read: {error}") from error
    except ValidationError as error:
        raise Poison(f"{message.subject} is not a {kind.__name__}: {_problems(error, kind)}") from error


def decode_command(message: Msg, service: str, command_types: Mapping[str, type[C]]) -> ReceivedCommand[C]:
    """Decodes a command for *service*; an invalid one becomes a rejection."""
    metadata = message.metadata
    at = metadata.timestamp
    stored = id_from_stream_position(metadata.stream, metadata.sequence.stream, at)
    try:
        lineage = command_lineage(message.headers or _NO_HEADERS, stored)
        require_content(message.headers or _NO_HEADERS)
    except Poison as error:
        rejection = Rejection(RejectionCode.MALFORMED, str(error))
        return ReceivedCommand(
            lineage=Lineage.root(stored), command_type=message.subject, aggregate_id=None, at=at, body=rejection
        )
    name = catalog().commands.get(message.subject)
    kind = command_types.get(name) if name else _unlisted(message.subject, command_types)
    if kind is None:
        return ReceivedCommand(
            lineage=lineage,
            command_type=name or message.subject,
            aggregate_id=None,
            at=at,
            body=_unknown(message.subject, service),
        )
    body = _read_body(message.data, kind)
    if isinstance(body, Rejection):
        return ReceivedCommand(
            lineage=lineage,
            command_type=kind.__name__,
            aggregate_id=_aggregate_id_in(message.data, kind),
            at=at,
            body=body,
        )
    if not body.identity:
        derived = str(derive_id(lineage.message_id, body.identified_by))
        body = body.model_copy(update={body.identified_by: derived})
    named = Header.COMMAND_ID in (message.headers or _NO_HEADERS) and lineage.saga is None
    return ReceivedCommand(
        lineage=lineage, command_type=kind.__name__, aggregate_id=body.identity, at=at, body=body, named=named
    )


def _unlisted(subject: str, command_types: Mapping[str, type[C]]) -> type[C] | None:
    """Finds the start command of a saga without a line in subjects.yaml."""
    return next((k for k in command_types.values() if issubclass(k, StartSaga) and str(_start_of(k)) == subject), None)


def _read_body(data: bytes, kind: type[C]) -> C | Rejection:
    if len(data) > kind.max_body_bytes:
        problem = f"the body has {len(data)} bytes; such a command may have at most {kind.max_body_bytes}"
        return Rejection(RejectionCode.INVALID, problem)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        if not error.errors()[0]["loc"] and error.errors()[0]["type"] in _NOT_AN_OBJECT:
            return Rejection(
                RejectionCode.MALFORMED,
                f"the body must be one JSON object (UTF-8) with the fields of {kind.__name__}",
                details={"fields": list(kind.model_fields)},
            )
        problems = _problems(error, kind)
        summary = "; ".join(f"{p['field']}: {p['problem']}" for p in problems)
        return Rejection(
            RejectionCode.INVALID, f"not a valid {kind.__name__}: {summary}", details={"problems": [*problems]}
        )


def _aggregate_id_in(data: bytes, kind: type[Command]) -> str | None:
    """Reads the aggregate id from an invalid body, because the client may wait for a reply about that aggregate."""
    try:
        named = from_json(data)[kind.identified_by] if len(data) <= kind.max_body_bytes else None
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    named = str(named) if isinstance(named, int) else named
    return named if isinstance(named, str) and _AGGREGATE_ID.fullmatch(named) else None


def _problems(error: ValidationError, kind: type[Message]) -> list[dict[str, JsonValue]]:
    """Lists the problems by field, without the values: one of them may be a secret in the wrong place."""
    return [
        {"field": ".".join(str(part)[:64] for part in detail["loc"]) or "(body)", "problem": _problem(detail, kind)}
        for detail in error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]
    ]


def _problem(detail: ErrorDetails, kind: type[Message]) -> str:
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        return f"unknown field; the fields are {', '.join(kind.model_fields)}"
    return detail["msg"].removeprefix("Value error, ")


def _unknown(subject: str, service: str) -> Rejection:
    known = catalog().commands_of(service)
    return Rejection(
        RejectionCode.UNKNOWN_COMMAND,
        f"{subject[:200]} is no command of the {service} service; its commands are {', '.join(known)}",
        details={"known": [*known]},
    )
