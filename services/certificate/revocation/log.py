"""Reader that folds the log into the revocation register, on demand.

No subscription stays open, so none can fall behind: each call reads the log to its end.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.certificate.der import crl_entry
from services.certificate.revocation.register import RevocationEvent, RevocationRegister
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.messages.catalog import LOG
from shared.messages.envelope import decode_event
from shared.messages.headers import schema_version
from shared.nats.log_reader import LogReader

_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in ("held", "released", "revoked"))
_EVENTS: dict[str, type[RevocationEvent]] = {
    kind.__name__: kind for kind in (CertificateHeld, CertificateReleased, CertificateRevoked)
}


class RevocationLog:
    """The revocation register, read from the log. `catch_up` brings it up to date."""

    def __init__(self, js: JetStreamContext) -> None:
        self.register = RevocationRegister(crl_entry)
        self._js = js
        self._reader = LogReader(js, _PATTERNS, on_event=self._on_event, on_reset=self._on_reset)
        self._completion = asyncio.Lock()
        self._incomplete: list[tuple[int, datetime, CertificateRevoked]] = []

    async def catch_up(self) -> int:
        """Reads the log to its end and returns the last sequence. Raises Poison for an event that cannot be parsed."""
        last_sequence = await self._reader.catch_up()
        async with self._completion:
            while self._incomplete:
                sequence, at, event = self._incomplete[0]
                if (issued := await self._signed_event(event.certificate_id)) is not None:
                    update = {"issuer_id": issued.issuer_id, "serial": issued.serial, "not_after": issued.not_after}
                    self.register.apply_late(sequence, at, event.model_copy(update=update))
                del self._incomplete[:1]
        return last_sequence

    async def _signed_event(self, certificate_id: str) -> CertificateSigned | None:
        """Finds the issuer of a revoked certificate: version 0.1.0 did not write it into the revocation event."""
        try:
            found = await self._js.get_msg(LOG, subject=f"keys.events.certificate.signed.{certificate_id}")
        except NotFoundError:
            return None
        return CertificateSigned.from_stored(found.data or b"", schema_version(found.headers))

    def _on_reset(self) -> None:
        self.register = RevocationRegister(crl_entry)
        self._incomplete.clear()

    def _on_event(self, message: Msg) -> None:
        sequence, at = message.metadata.sequence.stream, message.metadata.timestamp
        event = decode_event(message, _EVENTS)[1]
        self.register.apply(sequence, at, event)
        if isinstance(event, CertificateRevoked) and event.existed and event.issuer_id is None:
            self._incomplete.append((sequence, at, event))
