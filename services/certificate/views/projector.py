"""Projector of KEYS_VIEWS: writes the documents of each event unless a later version is stored (ADR 0016).

Order, duplicates and other replicas do not matter, so it handles events concurrently.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.certificate.views.documents import (
    IssuanceEvent,
    PublicationEvent,
    StatusEvent,
    StoredEvent,
    View,
    certificate_views,
    issuer_views,
    publication_views,
)
from shared.contracts.base import Event
from shared.contracts.certificate.events import CertificateImported, CertificateSigned
from shared.errors import Conflict, Poison, Transient
from shared.messages.catalog import LOG, catalog
from shared.messages.envelope import decode_event, subject_of
from shared.messages.headers import Header, event_lineage, schema_version
from shared.nats.direct_get import StoredMessage, get_last, get_last_of_each, get_next
from shared.nats.kv import KeyValue

SEQUENCE: Final = Header.SEQUENCE
_BUCKET: Final = "KEYS_VIEWS"
_BUCKET_STREAM: Final = f"KV_{_BUCKET}"
_SUBJECT: Final = f"$KV.{_BUCKET}."
_MAX_SINGLE_READS: Final = 4
"""Up to this many documents, single reads are faster than a batch, which needs a subscription."""
_HISTORY: Final[Mapping[str, type[IssuanceEvent | StatusEvent]]] = {
    kind.__name__: kind for kind in (*get_args(IssuanceEvent), *get_args(StatusEvent))
}
_CHANGES: Final[Mapping[str, type[StatusEvent]]] = {kind.__name__: kind for kind in get_args(StatusEvent)}
_OTHERS: Final[Mapping[str, type[IssuanceEvent | PublicationEvent]]] = {
    kind.__name__: kind for kind in (*get_args(IssuanceEvent), *get_args(PublicationEvent))
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Projector:
    """Handles the events of the log for KEYS_VIEWS."""

    client: Client
    bucket: KeyValue

    @classmethod
    def over(cls, client: Client) -> "Projector":
        return cls(client, KeyValue(client.jetstream(), _BUCKET))

    def is_relevant(self, message: Msg) -> bool:
        """Tells whether an event changes a document; `created`, `checked` and `exported`, for example, do not."""
        kind = (message.headers or {}).get(Header.EVENT_TYPE)
        return kind in _CHANGES or kind in _OTHERS

    async def handle(self, message: Msg) -> None:
        if not self.is_relevant(message):
            return
        kind, sequence = (message.headers or {}).get(Header.EVENT_TYPE), message.metadata.sequence.stream
        try:
            if kind in _CHANGES:
                views = await self._current_views(message, sequence)
            else:
                views = _views_of(message, sequence)
        except ValueError as error:
            raise Poison(f"{message.subject} cannot be parsed: {error}") from error
        is_new = kind in _HISTORY and kind in _OTHERS  # most likely there is no document yet, so try to create it first
        current = {} if is_new or not views else await self._current(views)
        await asyncio.gather(*(self._write(view, current.get(view.key)) for view in views))

    async def on_poison(self, message: Msg) -> None:
        """Logs and skips an event that cannot be parsed; any other error is retried without limit."""
        try:
            await self.handle(message)
        except Poison as error:
            log.error("the views skip %s: %s", message.subject, error)  # noqa: TRY400 - the message names the problem

    async def _current_views(self, message: Msg, sequence: int) -> tuple[View, ...]:
        """Returns the documents of a certificate; none if a later event exists, which the projector handles next."""
        _, event = decode_event(message, _CHANGES)
        _require_own_subject(message, event)
        history = await self._history(event.certificate_id, sequence)
        return certificate_views(history) if history[-1].sequence == sequence else ()

    async def _history(self, certificate_id: str, through: int) -> list[StoredEvent]:
        """Reads the last event of each kind, all that a document depends on, in one request."""
        kinds = {str(catalog().patterns[name].fill(certificate_id)): kind for name, kind in _HISTORY.items()}
        found = await get_last_of_each(self.client, LOG, list(kinds))
        if not found or found[-1].sequence < through:
            raise Transient(f"a replica of {LOG} lags behind {through}")
        history = [await self._last_valid(stored, kinds[stored.subject]) for stored in found]
        return sorted((each for each in history if each is not None), key=lambda each: each.sequence)

    async def _last_valid(self, stored: StoredMessage, kind: type[IssuanceEvent | StatusEvent]) -> StoredEvent | None:
        """Parses *stored* or, if it is not an event of the suite, the last one on its subject that is."""
        if (event := _read(stored, kind)) is not None:
            return event
        subject, sequence = stored.subject, 0
        while (other := await get_next(self.client, LOG, subject, sequence)) is not None:
            event, sequence = _read(other, kind) or event, other.sequence
        return event

    async def _current(self, views: Sequence[View]) -> dict[str, StoredMessage]:
        """Reads the stored documents of *views*; a deleted one appears as its delete marker."""
        subjects = [_SUBJECT + view.key for view in views]
        if len(subjects) > _MAX_SINGLE_READS:
            found = await get_last_of_each(self.client, _BUCKET_STREAM, subjects)
        else:
            documents = await asyncio.gather(*(get_last(self.client, _BUCKET_STREAM, subject) for subject in subjects))
            found = [stored for stored in documents if stored is not None]
        return {stored.subject.removeprefix(_SUBJECT): stored for stored in found}

    async def _write(self, view: View, current: StoredMessage | None) -> None:
        while current is None or _sequence(current) < view.sequence:
            revision = 0 if current is None else current.sequence
            try:
                await self.bucket.put(view.key, view.value, revision, headers={SEQUENCE: str(view.sequence)})
            except Conflict:
                current = (await self._current([view])).get(view.key)
            else:
                return


def _views_of(message: Msg, sequence: int) -> tuple[View, ...]:
    """Returns the documents that follow from this event alone; each later change of status has its own event."""
    _, event = decode_event(message, _OTHERS)
    _require_own_subject(message, event)
    match event:
        case CertificateSigned() | CertificateImported():
            issuance = StoredEvent(event, sequence, message.metadata.timestamp)
            return (*certificate_views([issuance]), *issuer_views(event, sequence))
        case _:
            return publication_views(event, sequence)


def _require_own_subject(message: Msg, event: Event) -> None:
    if str(subject_of(event)) != message.subject:
        raise Poison(f"{message.subject} has an event that belongs on {subject_of(event)}")


def _read(stored: StoredMessage, kind: type[IssuanceEvent | StatusEvent]) -> StoredEvent | None:
    if stored.headers.get(Header.EVENT_TYPE) != kind.__name__:
        return None
    try:
        event_lineage(stored.headers)
        return StoredEvent(kind.from_stored(stored.data, schema_version(stored.headers)), stored.sequence, stored.at)
    except (Poison, ValueError):
        return None


def _sequence(document: StoredMessage) -> int:
    """Returns the event sequence of a document; 0 for a foreign or deleted one."""
    text = document.headers.get(SEQUENCE, "")
    return int(text) if text.isdecimal() else 0
