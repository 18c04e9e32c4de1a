"""Sagas for a person: their published entries in KEYS_SAGAS (`SagaView`) and their announcements in KEYS_EVENTS."""

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
from rich.text import Text

from services.console.client import Exit, Failure, last_event, read_events
from services.console.formatting import align, flatten, format_age, format_clock, summarize, table
from services.console.wire_message import WireMessage
from shared.contracts.saga.view import SCHEMAS, PendingStepView, SagaView, stored_questions
from shared.messages.ids import timestamp_of
from shared.nats.kv import KeyValue

BUCKET = "KEYS_SAGAS"
_COLUMNS = ("TYPE", "ID", "PHASE", "WAITS FOR", "AGE", "LAST CHANGE")
_SHOWN = ("version", "request", "deadline", "undone", "left_over", "reason", "cancelled_by")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of KEYS_SAGAS: the published view, and the stored JSON for `--json`."""

    view: SagaView
    stored: dict[str, Any]

    @property
    def waits_for(self) -> str | None:
        paused = ["(paused)"] if self.view.paused_at else []
        return " ".join([pending.label for pending in self.view.pending] + paused) or None

    @property
    def began_at(self) -> datetime | None:
        """Returns the time of the timer that started the saga, or the time in the id of its start command."""
        return self.view.origin.at or timestamp_of(self.view.origin.command_id)

    def row(self) -> dict[str, Any]:
        return {
            "saga_type": self.view.saga_type,
            "saga_id": self.view.saga_id,
            "phase": self.view.phase,
            "waits_for": self.waits_for,
            "began_at": self.began_at.isoformat() if self.began_at else None,
            "changed_at": self.stored["changed_at"],
        }

    def as_json(self, announcements: list[WireMessage]) -> dict[str, Any]:
        return {
            **self.row(),
            "actor": self.view.origin.actor,
            "correlation_id": self.view.origin.correlation_id,
            **{name: self.stored[name] for name in _SHOWN},
            "questions": stored_questions(self.stored),
            "paused_at": self.stored.get("paused_at"),
            "to_undo": self.view.remaining_undo,
            "timeline": [
                {"subject": event.subject, "time": event.at.isoformat(), **event.body} for event in announcements
            ],
        }


async def read_entries(js: JetStreamContext) -> list[Entry]:
    """Returns all sagas whose schema this console can read, oldest first."""
    try:
        found = [_decode(document.value) async for document in KeyValue(js, BUCKET).all()]
    except NotFoundError as error:
        problem = f"this server has no bucket {BUCKET}: start the suite on it first"
        raise Failure(Exit.NO_CONNECTION, problem) from error
    return sorted((entry for entry in found if entry), key=lambda entry: (str(entry.began_at), entry.view.saga_id))


async def find_entry(js: JetStreamContext, saga_id: str) -> Entry:
    """Returns the saga with that id, or the only one whose id ends with it. Raises Failure."""
    if is_full_id(saga_id):
        document = await KeyValue(js, BUCKET).get(f"*.{saga_id}")
        found = [_decode(document.value)] if document else []
    else:
        found = [entry for entry in await read_entries(js) if entry.view.saga_id.endswith(saga_id)]
    if len(found) > 1:
        raise Failure(Exit.WRONG_USAGE, f"{len(found)} sagas have an id that ends in {saga_id}: type more of it")
    if not found:
        raise Failure(Exit.NOT_DONE, f"there is no saga {saga_id}; cim-keys sagas list shows those there are")
    if found[0] is None:
        problem = f"saga {saga_id} was stored by another version of the coordinator: use the console of that version"
        raise Failure(Exit.NOT_DONE, problem)
    return found[0]


def is_full_id(text: str) -> bool:
    """Tells whether *text* is a whole id and not only the end of one."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


async def read_announcements(js: JetStreamContext, saga_id: str) -> list[WireMessage]:
    """Reads the announcements of the saga, by sequence."""
    patterns = [f"keys.events.saga.*.*{between}.{saga_id}" for between in ("", ".*", ".*.*")]
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, filter_subjects=patterns)
    announcements = [event async for event in read_events(js, config)]
    return sorted(announcements, key=lambda event: int(event.body.get("sequence", 0)))


async def digest_to_approve(js: JetStreamContext, saga_id: str) -> str | None:
    """Returns the SHA-256 in the saga's last `waiting` announcement; None if it has none. Raises Failure."""
    waiting = await last_event(js, f"keys.events.saga.*.waiting.*.{saga_id}")
    if waiting is None:
        raise Failure(Exit.NOT_DONE, f"saga {saga_id} does not wait for people")
    return waiting.body.get("message_sha256")


def list_lines(entries: list[Entry]) -> Iterator[Text]:
    """Formats a table of sagas."""
    rows = [
        (
            entry.view.saga_type,
            entry.view.saga_id,
            entry.view.phase,
            entry.waits_for or "-",
            format_age(entry.began_at),
            format_clock(entry.view.changed_at) if entry.view.changed_at else "-",
        )
        for entry in entries
    ]
    return table(_COLUMNS, rows)


def detail_lines(entry: Entry, announcements: list[WireMessage]) -> Iterator[str | Text]:
    """Formats one saga: its request, timeline, pending steps, and remaining undo steps."""
    view = entry.view
    yield f"{view.saga_type} {view.saga_id}  {view.phase}"
    origin = [("  actor", view.origin.actor), ("  conversation", view.origin.correlation_id)]
    yield from align(origin + [(f"  {name}", value) for name, value in flatten(view.request)])
    yield "timeline"
    yield from align(
        [
            (f"  {event.body.get('sequence')}", format_clock(event.at), *_announcement_cells(event))
            for event in announcements
        ]
    )
    if view.paused_at:
        yield f"paused since {format_clock(view.paused_at)}"
        yield f"  cim-keys send saga.resume --saga-id {view.saga_id} resumes it"
    for pending in view.pending:
        yield from _pending_lines(view, pending)
    if not view.is_finished and not view.past_pivot:
        yield f"must be done by {format_clock(view.deadline)}"
    if view.reason:
        yield f"undone because: {view.reason}"
    if view.remaining_undo:
        yield f"left to undo: {', '.join(view.remaining_undo)}"
    for left in view.left_over:
        yield f"left over: {left.step}: {left.reason}"


def _pending_lines(view: SagaView, pending: PendingStepView) -> Iterator[str]:
    until = format_clock(pending.deadline)
    if pending.people:
        people = pending.people
        received = sum(signal.step == pending.step for signal in view.signals)
        yield f"waits until {until} for {people.signal!r} of {people.needed}, {received} so far"
        if people.message_sha256:
            yield f"  about SHA-256 {people.message_sha256}"
        yield f"  cim-keys sagas signal {view.saga_id} {people.signal} sends it"
    elif pending.stuck:
        yield f"stuck at {pending.label}: {pending.stuck}"
        yield f"  cim-keys send saga.retry --saga-id {view.saga_id} sends the command again"
    elif pending.asleep:
        yield f"sleeps ({pending.label}) until {until}"
    else:
        yield f"waits for {pending.label}, attempt {pending.attempt}, until {until}"
        if pending.send_at:
            yield f"  sends it again at {format_clock(pending.send_at)}"


def _announcement_cells(event: WireMessage) -> tuple[str, str]:
    if event.announcement == "step":
        attempts = event.body.get("attempts", 1)
        return f"step {event.body.get('step')}", f"attempt {attempts}" if attempts != 1 else ""
    return event.announcement or event.kind, summarize(event)


def _decode(value: bytes) -> Entry | None:
    stored = from_json(value)
    return Entry(SagaView.model_validate(stored), stored) if stored.get("schema") in SCHEMAS else None
