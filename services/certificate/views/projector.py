"""Keeps KEYS_VIEWS: hears what the log is told, and writes each document unless a later one is there (ADR 0016).

Neither order nor duplicates nor other replicas matter, so every event is handled as it comes.
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
_A_FEW: Final = 4
"""So many are read one by one sooner than in a batch, which takes a subscription of its own."""
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
    client: Client
    bucket: KeyValue

    @classmethod
    def over(cls, client: Client) -> "Projector":
        return cls(client, KeyValue(client.jetstream(), _BUCKET))

    def concerns(self, message: Msg) -> bool:
        """Whether it changes a document. What is created, checked or exported does not, nor what is not the suite's."""
        kind = (message.headers or {}).get(Header.EVENT_TYPE)
        return kind in _CHANGES or kind in _OTHERS

    async def handle(self, message: Msg) -> None:
        if not self.concerns(message):
            return
        kind, sequence = (message.headers or {}).get(Header.EVENT_TYPE), message.metadata.sequence.stream
        try:
            if kind in _CHANGES:
                views = await self._changed(message, sequence)
            else:
                views = _told(message, sequence)
        except ValueError as error:
            raise Poison(f"{message.subject} holds what cannot be read: {error}") from error
        is_new = kind in _HISTORY and kind in _OTHERS  # most likely: so it is written without a look
        standing = {} if is_new or not views else await self._standing(views)
        await asyncio.gather(*(self._write(view, standing.get(view.key)) for view in views))

    async def surrender(self, message: Msg) -> None:
        """What cannot be read is passed over, and the log of the service says so; all else is tried for ever."""
        try:
            await self.handle(message)
        except Poison as error:
            log.error("%s shows in no view: %s", message.subject, error)  # noqa: TRY400 - what is wrong is in the event

    async def _changed(self, message: Msg, sequence: int) -> tuple[View, ...]:
        """The certificate as it stands now; nothing, if that is later than *message*: what is later is heard too."""
        _, event = decode_event(message, _CHANGES)
        _require_own_subject(message, event)
        history = await self._history(event.certificate_id, sequence)
        return certificate_views(history) if history[-1].sequence == sequence else ()

    async def _history(self, certificate_id: str, through: int) -> list[StoredEvent]:
        """The last event of each kind: all that a document depends on, in one request however long the history is."""
        kinds = {str(catalog().patterns[name].fill(certificate_id)): kind for name, kind in _HISTORY.items()}
        found = await get_last_of_each(self.client, LOG, list(kinds))
        if not found or found[-1].sequence < through:
            raise Transient(f"a replica of {LOG} lags behind {through}")
        history = [await self._genuine(stored, kinds[stored.subject]) for stored in found]
        return sorted((told for told in history if told is not None), key=lambda told: told.sequence)

    async def _genuine(self, stored: StoredMessage, kind: type[IssuanceEvent | StatusEvent]) -> StoredEvent | None:
        """What *stored* tells; if it is none of the suite's, the last on its subject that is: junk hides nothing."""
        if (told := _read(stored, kind)) is not None:
            return told
        subject, sequence = stored.subject, 0
        while (other := await get_next(self.client, LOG, subject, sequence)) is not None:
            told, sequence = _read(other, kind) or told, other.sequence
        return told

    async def _standing(self, views: Sequence[View]) -> dict[str, StoredMessage]:
        """What stands under the keys of *views*; one that another client deleted, as the marker that it left."""
        subjects = [_SUBJECT + view.key for view in views]
        if len(subjects) > _A_FEW:
            found = await get_last_of_each(self.client, _BUCKET_STREAM, subjects)
        else:
            each = await asyncio.gather(*(get_last(self.client, _BUCKET_STREAM, subject) for subject in subjects))
            found = [stored for stored in each if stored is not None]
        return {stored.subject.removeprefix(_SUBJECT): stored for stored in found}

    async def _write(self, view: View, standing: StoredMessage | None) -> None:
        while standing is None or _sequence(standing) < view.sequence:
            revision = 0 if standing is None else standing.sequence
            try:
                await self.bucket.put(view.key, view.value, revision, headers={SEQUENCE: str(view.sequence)})
            except Conflict:
                standing = (await self._standing([view])).get(view.key)
            else:
                return


def _told(message: Msg, sequence: int) -> tuple[View, ...]:
    """What follows from the event alone: of one that begins, because whatever changes it is heard too."""
    _, event = decode_event(message, _OTHERS)
    _require_own_subject(message, event)
    match event:
        case CertificateSigned() | CertificateImported():
            begun = StoredEvent(event, sequence, message.metadata.timestamp)
            return (*certificate_views([begun]), *issuer_views(event, sequence))
        case _:
            return publication_views(event, sequence)


def _require_own_subject(message: Msg, event: Event) -> None:
    if str(subject_of(event)) != message.subject:
        raise Poison(f"{message.subject} holds what belongs on {subject_of(event)}")


def _read(stored: StoredMessage, kind: type[IssuanceEvent | StatusEvent]) -> StoredEvent | None:
    if stored.headers.get(Header.EVENT_TYPE) != kind.__name__:
        return None
    try:
        event_lineage(stored.headers)
        return StoredEvent(kind.from_stored(stored.data, schema_version(stored.headers)), stored.sequence, stored.at)
    except (Poison, ValueError):
        return None


def _sequence(document: StoredMessage) -> int:
    """Where a document stands; at nothing, if it is none of ours or was deleted."""
    text = document.headers.get(SEQUENCE, "")
    return int(text) if text.isdecimal() else 0
