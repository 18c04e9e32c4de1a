"""Sagas as their coordinator keeps them (bucket KEYS_SAGAS) and as they told of themselves (KEYS_EVENTS)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from pydantic_core import from_json

from services.console.client import Exit, Failure, history, last
from services.console.formatting import age, clock, columns, flat, gist
from services.console.wire_message import Heard
from shared.messages.ids import timestamp_of
from shared.nats.kv import KeyValue

SCHEMAS = (1, 2)
"""The forms of entries that are read here; the coordinator's `store` writes the last."""
BUCKET = "KEYS_SAGAS"
_OVER = ("completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One saga's state, as stored."""

    stored: dict[str, Any]

    @property
    def saga_type(self) -> str:
        return str(self.stored["saga_type"])

    @property
    def saga_id(self) -> str:
        return str(self.stored["saga_id"])

    @property
    def phase(self) -> str:
        return str(self.stored["phase"])

    @property
    def over(self) -> bool:
        return self.phase in _OVER

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What is pending; up to version 0.2 that was one thing or nothing."""
        if self.stored["schema"] == 1:
            return [self.stored["question"]] if self.stored["question"] else []
        return list(self.stored["questions"])

    @property
    def waits_for(self) -> str | None:
        paused = ["(paused)"] if self.stored.get("paused_at") else []
        return " ".join([label_of(question) for question in self.questions] + paused) or None

    @property
    def began(self) -> datetime | None:
        """When an event's time had come; else by the id of the command that began it, which says when it was drawn."""
        if at := self.stored["origin"].get("at"):
            return _time(at)
        return timestamp_of(UUID(self.stored["origin"]["command_id"]))

    @property
    def changed(self) -> datetime | None:
        return _time(self.stored["changed_at"])

    def row(self) -> dict[str, Any]:
        return {
            "saga_type": self.saga_type,
            "saga_id": self.saga_id,
            "phase": self.phase,
            "waits_for": self.waits_for,
            "began_at": self.began.isoformat() if self.began else None,
            "changed_at": self.stored["changed_at"],
        }

    def at_length(self, timeline: list[Heard]) -> dict[str, Any]:
        kept = ("version", "request", "deadline", "undone", "left_over", "reason", "cancelled_by")
        return {
            **self.row(),
            "actor": self.stored["origin"]["actor"],
            "correlation_id": self.stored["origin"]["correlation_id"],
            **{name: self.stored[name] for name in kept},
            "questions": self.questions,
            "paused_at": self.stored.get("paused_at"),
            "to_undo": self.to_undo,
            "timeline": [{"subject": told.subject, "time": told.at.isoformat(), **told.body} for told in timeline],
        }

    @property
    def to_undo(self) -> list[str]:
        """The steps of which something is still to be undone, the one that is being undone first."""
        undoing = [question["step"] for question in self.questions if question["part"] is not None]
        return list(dict.fromkeys(undoing + [step for step, _ in self.stored["to_undo"]]))


async def entries(js: JetStreamContext) -> list[Entry]:
    """Every saga that this console can read, oldest first."""
    try:
        read = [_read(document.value) async for document in KeyValue(js, BUCKET).all()]
    except NotFoundError as error:
        raise _no_bucket() from error
    return sorted((entry for entry in read if entry), key=lambda entry: (str(entry.began), entry.saga_id))


async def find(js: JetStreamContext, saga_id: str) -> Entry:
    """The saga of that id, or of the one id that ends so. Raises Failure."""
    if is_id(saga_id):
        document = await KeyValue(js, BUCKET).get(f"*.{saga_id}")
        found = [_read(document.value)] if document else []
    else:
        found = [entry for entry in await entries(js) if entry.saga_id.endswith(saga_id)]
    if len(found) > 1:
        raise Failure(Exit.WRONG_USAGE, f"{len(found)} sagas have an id that ends in {saga_id}")
    if not found:
        raise Failure(Exit.NOT_DONE, f"there is no saga {saga_id}; cim-keys sagas list shows those there are")
    if found[0] is None:
        raise Failure(Exit.NOT_DONE, f"saga {saga_id} is kept in a form that this console does not know")
    return found[0]


def is_id(text: str) -> bool:
    """Whether it is an id written out, and not only the end of one."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


async def timeline(js: JetStreamContext, saga_id: str) -> list[Heard]:
    """What the saga announced, in the order of its own count."""
    patterns = [f"keys.events.saga.*.*{between}.{saga_id}" for between in ("", ".*", ".*.*")]
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, filter_subjects=patterns)
    told = [heard async for heard in history(js, config)]
    return sorted(told, key=lambda heard: int(heard.body.get("sequence", 0)))


async def awaited(js: JetStreamContext, saga_id: str) -> str | None:
    """The SHA-256 of what the saga last asked people to judge; None where it named none. Raises Failure."""
    waiting = await last(js, f"keys.events.saga.*.waiting.*.{saga_id}")
    if waiting is None:
        raise Failure(Exit.NOT_DONE, f"saga {saga_id} has not asked anybody for anything")
    return waiting.body.get("message_sha256")


def listed(found: list[Entry]) -> Iterator[str]:
    """A table of sagas, a line each."""
    rows = [("TYPE", "ID", "PHASE", "WAITS FOR", "AGE", "LAST CHANGE")]
    for entry in found:
        changed = clock(entry.changed) if entry.changed else "-"
        rows.append((entry.saga_type, entry.saga_id, entry.phase, entry.waits_for or "-", age(entry.began), changed))
    return columns(rows)


def label_of(question: dict[str, Any]) -> str:
    """The step that is asked, or undone."""
    return str(question["step"]) if question["part"] is None else f"undo.{question['step']}"


def told_at_length(entry: Entry, timeline: list[Heard]) -> Iterator[str]:
    """One saga: what was asked for, what happened, what is waited for, what is left."""
    stored = entry.stored
    yield f"{entry.saga_type} {entry.saga_id}  {entry.phase}"
    asked = [("  asked by", stored["origin"]["actor"]), ("  conversation", stored["origin"]["correlation_id"])]
    yield from columns(asked + [(f"  {name}", value) for name, value in flat(stored["request"])])
    yield "timeline"
    yield from columns([(f"  {told.body.get('sequence')}", clock(told.at), *_moment(told)) for told in timeline])
    if stored.get("paused_at"):
        yield f"paused since {_clock(stored['paused_at'])}: cim-keys send saga.resume --saga-id {entry.saga_id} goes on"
    for question in entry.questions:
        yield from _pending(entry, question)
    if not entry.over and not stored.get("past_pivot"):
        yield f"must be done by {_clock(stored['deadline'])}"
    if stored["reason"]:
        yield f"undone because: {stored['reason']}"
    if entry.to_undo:
        yield f"left to undo: {', '.join(entry.to_undo)}"
    for left in stored["left_over"]:
        yield f"left over: {left['step']}: {left['reason']}"


def _pending(entry: Entry, question: dict[str, Any]) -> Iterator[str]:
    until = _clock(question["deadline"])
    if people := question.get("people"):
        heard = sum(said["step"] == question["step"] for said in entry.stored["signals"])
        yield f"waits until {until} for {people['signal']!r} of {people['needed']}, {heard} so far"
        if people["message_sha256"]:
            yield f"  of what has SHA-256 {people['message_sha256']}"
        yield f"  cim-keys sagas signal {entry.saga_id} {people['signal']} says it"
    elif question.get("stuck"):
        yield f"stuck at {label_of(question)}: {question['stuck']}"
        yield f"  cim-keys send saga.retry --saga-id {entry.saga_id} asks again"
    elif question.get("asleep"):
        yield f"sleeps ({label_of(question)}) until {until}"
    else:
        yield f"waits for {label_of(question)}, attempt {question['attempt']}, until {until}"
        if question["send_at"]:
            yield f"  asks again at {_clock(question['send_at'])}"


def _moment(told: Heard) -> tuple[str, str]:
    if told.announcement == "step":
        attempts = told.body.get("attempts", 1)
        return f"step {told.body.get('step')}", f"attempt {attempts}" if attempts != 1 else ""
    return told.announcement or told.kind, gist(told)


def _read(value: bytes) -> Entry | None:
    stored = from_json(value)
    return Entry(stored) if stored.get("schema") in SCHEMAS else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _clock(text: str) -> str:
    return clock(datetime.fromisoformat(text))


def _no_bucket() -> Failure:
    return Failure(Exit.NO_CONNECTION, f"this server has no bucket {BUCKET}: the suite has not run here")
