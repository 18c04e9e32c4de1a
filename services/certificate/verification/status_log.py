"""Reader of the log for path validation: our CA certificates, and the status of every certificate over time.

No subscription stays open: each call reads the log to its end.
"""

from __future__ import annotations

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.certificate.verification.status_history import CA_PROFILES, StatusHistory, StatusHistoryEvent
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
_EVENTS = {kind.__name__: kind for kind in _KINDS.values()}
_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in _KINDS)
_CA_MARKERS = tuple(f'"{profile}"'.encode() for profile in CA_PROFILES)


class StatusLog:
    """Keeps *history* up to date with the log; `catch_up` reads what was appended."""

    def __init__(self, js: JetStreamContext) -> None:
        self.history = StatusHistory()
        self._js = js
        self._reader = LogReader(js, _PATTERNS, on_event=self._on_event, on_reset=self._on_reset)

    async def catch_up(self) -> None:
        """Reads the log to its end. Raises Poison for an event that cannot be parsed."""
        await self._reader.catch_up()

    async def certificate_pem(self, certificate_id: str) -> str | None:
        """Reads the certificate of that id from the log; None if there is none."""
        for token, kind in _ISSUED.items():
            try:
                stored = await self._js.get_msg(LOG, subject=f"keys.events.certificate.{token}.{certificate_id}")
            except NotFoundError:
                continue
            return kind.from_stored(stored.data or b"", schema_version(stored.headers)).certificate_pem
        return None

    def _on_reset(self) -> None:
        self.history = StatusHistory()

    def _on_event(self, message: Msg) -> None:
        """Skips certificates of leaves before parsing: they are most of the events."""
        token = event_kind_of(message.subject)
        if token not in _ISSUED or any(marker in message.data for marker in _CA_MARKERS):
            self.history.apply(decode_event(message, _EVENTS)[1], message.metadata.timestamp)
