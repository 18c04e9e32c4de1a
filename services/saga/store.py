"""Saga store: one entry a saga in the KV bucket KEYS_SAGAS, written with optimistic concurrency."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from services.saga.core.definition import AnyDefinition
from services.saga.core.state import (
    Origin,
    PendingAnnouncement,
    PendingStep,
    Phase,
    Saga,
    Signal,
    StepOutcome,
    UndoMode,
    UndoPart,
)
from services.saga.core.steps import flatten
from shared.contracts.base import Event, Message
from shared.contracts.registry import MESSAGES
from shared.contracts.saga.protocol import LeftOver
from shared.errors import Conflict, Transient
from shared.messages.headers import Header
from shared.nats.kv import Document, KeyValue

SCHEMA = 2
_FORBIDDEN = "forbidden"
_TERMINAL_PHASES = frozenset({Phase.COMPLETED, Phase.COMPENSATED, Phase.FAILED})
_PENDING_STEPS = TypeAdapter(tuple[PendingStep, ...])
_IDS = TypeAdapter(tuple[UUID, ...])
_OPTIONAL_TIME = TypeAdapter(datetime | None)
_ORIGIN = TypeAdapter(Origin)
_SIGNALS = TypeAdapter(tuple[Signal, ...])
_TIME = TypeAdapter(datetime)
log = logging.getLogger(__name__)


class StartForbidden(Exception):
    """A saga of this id was withdrawn before it began, and must not begin."""


class UnknownVersion(Transient):
    """This coordinator does not have the definition version with which the saga began.

    The saga is left as it is, and its messages are retried with backoff. In a rolling upgrade, a coordinator that has
    the definition gets them next.
    """


@dataclass(slots=True)
class StoredSaga:
    """A saga with the revision of its entry. *sent*: this process has sent all messages of the state."""

    definition: AnyDefinition
    saga: Saga[Any]
    revision: int
    sent: bool = False


class SagaStore:
    """Reads and writes entries of the bucket."""

    def __init__(self, bucket: KeyValue, definitions: Mapping[str, AnyDefinition]) -> None:
        self._bucket = bucket
        self._definitions = definitions

    async def find(self, saga_type: str, saga_id: str) -> StoredSaga | None:
        """Returns the saga of that id; *saga_type* may be ``*``. Raises StartForbidden, UnknownVersion."""
        document = await self._bucket.get(f"{saga_type or '*'}.{saga_id}")
        if document is not None and document.key == f"{_FORBIDDEN}.{saga_id}":
            raise StartForbidden(saga_id)
        return self._decode(document) if document else None

    async def save(self, stored: StoredSaga, after: Saga[Any]) -> StoredSaga:
        """Writes *after* over the revision of *stored*. Raises Conflict if another coordinator has written since."""
        key = f"{after.saga_type}.{after.saga_id}"
        headers = {Header.SAGA_PHASE: str(after.phase)}
        revision = await self._bucket.put(
            key, encode_entry(after), stored.revision, unique=f"*.{after.saga_id}", headers=headers
        )
        return StoredSaga(stored.definition, after, revision)

    async def forbid(self, saga_id: str) -> None:
        """Writes a tombstone that keeps a saga of that id from beginning. Raises Conflict if one has begun."""
        with contextlib.suppress(StartForbidden):
            if await self.find("*", saga_id) is not None:
                raise Conflict(f"saga {saga_id} has begun")
            await self._bucket.put(f"{_FORBIDDEN}.{saga_id}", b"{}", 0, unique=f"*.{saga_id}")

    async def unfinished(self) -> AsyncIterator[StoredSaga]:
        """Yields every unfinished saga whose definition this coordinator has; logs the others.

        Most sagas of a bucket are finished: for these only the headers are read.
        """
        async for key, headers in self._bucket.headers():
            if headers.get(Header.SAGA_PHASE) in _TERMINAL_PHASES or key.startswith(f"{_FORBIDDEN}."):
                continue
            document = await self._bucket.get(key)
            try:
                if document is not None and not (stored := self._decode(document)).saga.is_finished:
                    yield stored
            except UnknownVersion as error:
                log.error("%s", error)  # noqa: TRY400 - expected in a rolling upgrade: a traceback would add nothing

    def _decode(self, document: Document) -> StoredSaga:
        entry = from_json(document.value)
        definition = self._definitions.get(f"{entry['saga_type']}/{entry['version']}")
        if definition is None:
            problem = f"{document.key} runs on version {entry['version']}, which this coordinator does not have"
            raise UnknownVersion(problem)
        if entry["schema"] not in (1, SCHEMA):
            raise UnknownVersion(f"{document.key} was written by a later coordinator (schema {entry['schema']})")
        return StoredSaga(definition, decode_entry(definition, entry), document.revision)


# -- format of an entry: the keys are persisted, also where the code has another name --------------------------------


def encode_entry(saga: Saga[Any]) -> bytes:
    return to_json(
        {
            "schema": SCHEMA,
            "saga_type": saga.saga_type,
            "saga_id": saga.saga_id,
            "version": saga.version,
            "phase": saga.phase,
            "request": saga.request.model_dump(mode="json"),
            "origin": saga.origin,
            "deadline": saga.deadline,
            "questions": saga.pending,
            "finished": saga.finished_steps,
            "answers": [{"step": outcome.step, **_encode_event(outcome.event)} for outcome in saga.outcomes],
            "to_undo": [[part.step, part.part] for part in saga.to_undo],
            "undone": saga.undone,
            "left_over": saga.left_over,
            "reason": saga.reason,
            "cancelled_by": saga.cancelled_by,
            "signals": saga.signals,
            "sequence": saga.sequence,
            "announcements": [{"cause": each.cause, **_encode_event(each.event)} for each in saga.announcements],
            "armed": saga.timer_at,
            "changed_at": saga.changed_at,
            "still_since": saga.suspended_at,
            "paused_at": saga.paused_at,
            "past_pivot": saga.past_pivot,
            "turn": saga.undo_mode,
            "orders": saga.operator_command_ids,
            "resolved": saga.resolved,
        }
    )


def decode_entry(definition: AnyDefinition, entry: dict[str, Any]) -> Saga[Any]:
    if entry["schema"] == 1:
        entry = _from_schema_1(definition, entry)
    decode_event = partial(_decode_event, definition.event_types)
    return Saga(
        saga_type=entry["saga_type"],
        saga_id=entry["saga_id"],
        version=entry["version"],
        phase=Phase(entry["phase"]),
        request=_decode_message(definition.request, entry["request"]),
        origin=_ORIGIN.validate_python(entry["origin"]),
        deadline=_TIME.validate_python(entry["deadline"]),
        pending=_PENDING_STEPS.validate_python(entry["questions"]),
        finished_steps=tuple(entry["finished"]),
        outcomes=tuple(StepOutcome(each["step"], decode_event(each)) for each in entry["answers"]),
        to_undo=tuple(UndoPart(step, part) for step, part in entry["to_undo"]),
        undone=tuple(entry["undone"]),
        left_over=tuple(LeftOver.model_validate(left) for left in entry["left_over"]),
        reason=entry["reason"],
        cancelled_by=UUID(entry["cancelled_by"]) if entry["cancelled_by"] else None,
        signals=_SIGNALS.validate_python(entry.get("signals", ())),  # entries of version 0.1 have none
        sequence=entry["sequence"],
        announcements=tuple(
            PendingAnnouncement(UUID(each["cause"]), decode_event(each)) for each in entry["announcements"]
        ),
        timer_at=_OPTIONAL_TIME.validate_python(entry["armed"]),
        changed_at=_OPTIONAL_TIME.validate_python(entry["changed_at"]),
        suspended_at=_OPTIONAL_TIME.validate_python(entry["still_since"]),
        paused_at=_OPTIONAL_TIME.validate_python(entry["paused_at"]),
        past_pivot=entry["past_pivot"],
        undo_mode=UndoMode(entry["turn"]),
        operator_command_ids=_IDS.validate_python(entry["orders"]),
        resolved=tuple(entry["resolved"]),
    )


def _from_schema_1(definition: AnyDefinition, entry: dict[str, Any]) -> dict[str, Any]:
    """Upgrades an entry of versions 0.1 and 0.2, whose sagas had one pending step: all steps before it are finished."""
    question = entry["question"]
    people = question.get("people") if question else None
    names = [step.name for step in flatten(definition.steps)]
    pending_step = question["step"] if question else ""
    return {
        **entry,
        "questions": [{**question, "patient": people is not None}] if question else [],
        "finished": names[: names.index(pending_step)] if pending_step in names else names,
        "still_since": people["since"] if people else None,
        "paused_at": None,
        "past_pivot": False,
        "turn": UndoMode.COMPENSATION,
        "orders": [entry["cancelled_by"]] if entry["cancelled_by"] else [],
        "resolved": [],
    }


def _encode_event(event: Event) -> dict[str, Any]:
    fields = {"event_type": type(event).__name__, "event": event.model_dump(mode="json")}
    return fields if event.schema_version == 1 else {**fields, "schema_version": event.schema_version}


def _decode_event(event_types: Mapping[str, type[Event]], fields: dict[str, Any]) -> Any:
    """Decodes an event and upcasts an older schema version of it."""
    name = fields["event_type"]
    event_type = event_types.get(name) or MESSAGES.get(name)
    if event_type is None or not issubclass(event_type, Event):
        raise LookupError(f"{name} is in no contract, and no event of this saga: annotate what `completed` returns")
    return event_type.from_stored(to_json(fields["event"]), str(fields.get("schema_version", 1)))


def _decode_message(message_type: type[Message], body: dict[str, Any]) -> Any:
    return message_type.model_validate_json(to_json(body))
