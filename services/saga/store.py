"""Where every saga stands, in the bucket KEYS_SAGAS: one entry a saga, written only over the revision that was read."""

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
from services.saga.core.pending_command import Question
from services.saga.core.state import Announced, Answered, Origin, Phase, Saga, Signal, Turn, Undoing
from services.saga.core.steps import flat
from shared.contracts.base import Event, Message
from shared.contracts.registry import MESSAGES
from shared.contracts.saga.protocol import LeftOver
from shared.errors import Conflict, Transient
from shared.messages.headers import Header
from shared.nats.kv import Document, KeyValue

SCHEMA = 2
_FORBIDDEN = "forbidden"
_PHASE = Header.SAGA_PHASE
_OVER = frozenset({Phase.COMPLETED, Phase.COMPENSATED, Phase.FAILED})
_Questions = TypeAdapter(tuple[Question, ...])
_Orders = TypeAdapter(tuple[UUID, ...])
_MaybeTime = TypeAdapter(datetime | None)
_Origin = TypeAdapter(Origin)
_Signals = TypeAdapter(tuple[Signal, ...])
_Time = TypeAdapter(datetime)
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Found:
    """A saga as it was last seen. *sent*: all that its state asks to be sent was sent by this process."""

    definition: AnyDefinition
    saga: Saga[Any]
    revision: int
    sent: bool = False


class SagaStore:
    def __init__(self, bucket: KeyValue, definitions: Mapping[str, AnyDefinition]) -> None:
        self._bucket = bucket
        self._definitions = definitions

    async def find(self, saga_type: str, saga_id: str) -> Found | None:
        """*saga_type* may be ``*``: an id belongs to one saga, of whatever type."""
        document = await self._bucket.get(f"{saga_type or '*'}.{saga_id}")
        if document is not None and document.key == f"{_FORBIDDEN}.{saga_id}":
            raise Forbidden(saga_id)
        return self._found(document) if document else None

    async def forbid(self, saga_id: str) -> None:
        """Let no saga of that id begin. Raises Conflict when one has begun."""
        with contextlib.suppress(Forbidden):
            if await self.find("*", saga_id) is not None:
                raise Conflict(f"saga {saga_id} has begun")
            await self._bucket.put(f"{_FORBIDDEN}.{saga_id}", b"{}", 0, unique=f"*.{saga_id}")

    async def save(self, found: Found, after: Saga[Any]) -> Found:
        """Write *after* over what was found. Raises Conflict when another coordinator was faster."""
        key = f"{after.saga_type}.{after.saga_id}"
        phase = {_PHASE: str(after.phase)}
        revision = await self._bucket.put(key, write(after), found.revision, unique=f"*.{after.saga_id}", headers=phase)
        return Found(found.definition, after, revision)

    async def unfinished(self) -> AsyncIterator[Found]:
        """Every saga that is not over, and that this coordinator has the definition of; others are logged.

        Most sagas of a bucket are over: of these only the headers are read.
        """
        async for key, headers in self._bucket.headers():
            if headers.get(_PHASE) in _OVER or key.startswith(f"{_FORBIDDEN}."):
                continue
            document = await self._bucket.get(key)
            try:
                if document is not None and not (found := self._found(document)).saga.over:
                    yield found
            except UnknownVersion as error:
                log.error("%s", error)  # noqa: TRY400 - parked, and said so; nothing here went wrong

    def _found(self, document: Document) -> Found:
        stored = from_json(document.value)
        definition = self._definitions.get(f"{stored['saga_type']}/{stored['version']}")
        if definition is None:
            raise UnknownVersion(f"{document.key} runs on version {stored['version']}, which this coordinator has not")
        if stored["schema"] not in (1, SCHEMA):
            raise UnknownVersion(f"{document.key} was written by a later coordinator (schema {stored['schema']})")
        return Found(definition, read(definition, stored), document.revision)


class Forbidden(Exception):
    """A saga of this id was withdrawn before it began, and will not begin."""


class UnknownVersion(Transient):
    """A saga finishes on the definition it began with; without that, it is left as it is, never guessed at.

    What it is told meanwhile is put off: in a rolling upgrade, a coordinator that has the definition hears it next.
    """


def write(saga: Saga[Any]) -> bytes:
    """The entry that *saga* is written down as."""
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
            "questions": saga.questions,
            "finished": saga.finished,
            "answers": [{"step": answered.step, **_event(answered.event)} for answered in saga.answers],
            "to_undo": [[undoing.step, undoing.part] for undoing in saga.to_undo],
            "undone": saga.undone,
            "left_over": saga.left_over,
            "reason": saga.reason,
            "cancelled_by": saga.cancelled_by,
            "signals": saga.signals,
            "sequence": saga.sequence,
            "announcements": [{"cause": told.cause, **_event(told.event)} for told in saga.announcements],
            "armed": saga.armed,
            "changed_at": saga.changed_at,
            "still_since": saga.still_since,
            "paused_at": saga.paused_at,
            "past_pivot": saga.past_pivot,
            "turn": saga.turn,
            "orders": saga.orders,
            "resolved": saga.resolved,
        }
    )


def read(definition: AnyDefinition, stored: dict[str, Any]) -> Saga[Any]:
    """`write` undone."""
    if stored["schema"] == 1:
        stored = _from_schema_1(definition, stored)
    reread = partial(_reread_event, definition.words)
    return Saga(
        saga_type=stored["saga_type"],
        saga_id=stored["saga_id"],
        version=stored["version"],
        phase=Phase(stored["phase"]),
        request=_reread(definition.request, stored["request"]),
        origin=_Origin.validate_python(stored["origin"]),
        deadline=_Time.validate_python(stored["deadline"]),
        questions=_Questions.validate_python(stored["questions"]),
        finished=tuple(stored["finished"]),
        answers=tuple(Answered(told["step"], reread(told)) for told in stored["answers"]),
        to_undo=tuple(Undoing(step, part) for step, part in stored["to_undo"]),
        undone=tuple(stored["undone"]),
        left_over=tuple(LeftOver.model_validate(left) for left in stored["left_over"]),
        reason=stored["reason"],
        cancelled_by=UUID(stored["cancelled_by"]) if stored["cancelled_by"] else None,
        signals=_Signals.validate_python(stored.get("signals", ())),  # entries of version 0.1 have none
        sequence=stored["sequence"],
        announcements=tuple(Announced(UUID(told["cause"]), reread(told)) for told in stored["announcements"]),
        armed=_MaybeTime.validate_python(stored["armed"]),
        changed_at=_MaybeTime.validate_python(stored["changed_at"]),
        still_since=_MaybeTime.validate_python(stored["still_since"]),
        paused_at=_MaybeTime.validate_python(stored["paused_at"]),
        past_pivot=stored["past_pivot"],
        turn=Turn(stored["turn"]),
        orders=_Orders.validate_python(stored["orders"]),
        resolved=tuple(stored["resolved"]),
    )


def _from_schema_1(definition: AnyDefinition, stored: dict[str, Any]) -> dict[str, Any]:
    """An entry of versions 0.1 and 0.2, whose sagas asked one thing at a time: what came before it is finished."""
    question = stored["question"]
    people = question.get("people") if question else None
    names = [step.name for step in flat(definition.steps)]
    asked = question["step"] if question else ""
    return {
        **stored,
        "questions": [{**question, "patient": people is not None}] if question else [],
        "finished": names[: names.index(asked)] if asked in names else names,
        "still_since": people["since"] if people else None,
        "paused_at": None,
        "past_pivot": False,
        "turn": Turn.COMPENSATION,
        "orders": [stored["cancelled_by"]] if stored["cancelled_by"] else [],
        "resolved": [],
    }


def _event(event: Event) -> dict[str, Any]:
    said = {"event_type": type(event).__name__, "event": event.model_dump(mode="json")}
    return said if event.schema_version == 1 else {**said, "schema_version": event.schema_version}


def _reread_event(words: Mapping[str, type[Event]], told: dict[str, Any]) -> Any:
    name = told["event_type"]
    kind = words.get(name) or MESSAGES.get(name)
    if kind is None or not issubclass(kind, Event):
        raise LookupError(f"{name} is in no contract, and no word of this saga: annotate what `completed` returns")
    return kind.from_stored(to_json(told["event"]), str(told.get("schema_version", 1)))


def _reread(kind: type[Message], body: dict[str, Any]) -> Any:
    return kind.model_validate_json(to_json(body))
