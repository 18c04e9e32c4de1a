"""Reads in the log who our authorities are and what was revoked when, each time that it is asked, as far as it goes."""

from __future__ import annotations

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.certificate.verification.status_history import AUTHORITIES, StatusHistory, StatusHistoryEvent
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateImported,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.messages.catalog import LOG
from shared.messages.envelope import decode_event
from shared.messages.headers import schema_version
from shared.messages.subjects import event_kind_of
from shared.nats.log_reader import LogReader

_ISSUED: dict[str, type[CertificateSigned | CertificateImported]] = {
    "signed": CertificateSigned,
    "imported": CertificateImported,
}
_KINDS: dict[str, type[StatusHistoryEvent]] = {
    **_ISSUED,
    "held": CertificateHeld,
    "released": CertificateReleased,
    "revoked": CertificateRevoked,
}
_LANGUAGE = {kind.__name__: kind for kind in _KINDS.values()}
_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in _KINDS)
_WORDS = tuple(f'"{profile}"'.encode() for profile in AUTHORITIES)


class StatusLog:
    """*past* is what was heard of the log; `caught_up` has it be all that the log holds."""

    def __init__(self, js: JetStreamContext) -> None:
        self.past = StatusHistory()
        self._js = js
        self._reader = LogReader(js, _PATTERNS, self._hear, self._forget)

    async def caught_up(self) -> None:
        """Hear all that stood in the log when this was asked. Raises Poison for what cannot be understood."""
        await self._reader.catch_up()

    async def certificate_pem(self, certificate_id: str) -> str | None:
        """The certificate of that id, read from the log; None: there is none."""
        for token, kind in _ISSUED.items():
            try:
                found = await self._js.get_msg(LOG, subject=f"keys.events.certificate.{token}.{certificate_id}")
            except NotFoundError:
                continue
            return kind.from_stored(found.data or b"", schema_version(found.headers)).certificate_pem
        return None

    def _forget(self) -> None:
        self.past = StatusHistory()

    def _hear(self, message: Msg) -> None:
        """Most are of leaves, which are not worth reading."""
        token = event_kind_of(message.subject)
        if token not in _ISSUED or any(word in message.data for word in _WORDS):
            self.past.apply(decode_event(message, _LANGUAGE)[1], message.metadata.timestamp)
