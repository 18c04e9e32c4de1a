"""What the log says of revocations, read when it is asked for: no message can be missed, for none is waited for."""

from __future__ import annotations

import asyncio
from datetime import datetime

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.certificate.revocation.register import RevocationEvent, RevocationRegister
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.messages.catalog import LOG
from shared.messages.envelope import decode_event
from shared.nats.log_reader import LogReader

_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in ("held", "released", "revoked"))
_EVENTS: dict[str, type[RevocationEvent]] = {
    kind.__name__: kind for kind in (CertificateHeld, CertificateReleased, CertificateRevoked)
}


class RevocationLog:
    """The register of what is revoked, as the log has it."""

    def __init__(self, js: JetStreamContext) -> None:
        self.register = RevocationRegister()
        self._js = js
        self._reader = LogReader(js, _PATTERNS, self._hear, self._forget)
        self._settling = asyncio.Lock()
        self._of_nobody: list[tuple[int, datetime, CertificateRevoked]] = []

    async def through(self) -> int:
        """Hear all that the log holds now, and tell how far that is. Raises Poison for what cannot be understood."""
        through = await self._reader.catch_up()
        async with self._settling:
            while self._of_nobody:
                sequence, at, event = self._of_nobody[0]
                if (issued := await self._issued(event.certificate_id)) is not None:
                    known = {"issuer_id": issued.issuer_id, "serial": issued.serial, "not_after": issued.not_after}
                    self.register.hear_late(sequence, at, event.model_copy(update=known))
                del self._of_nobody[:1]
        return through

    async def _issued(self, certificate_id: str) -> CertificateSigned | None:
        """Version 0.1.0 did not say in a revocation whose the certificate was; what was signed says it."""
        try:
            found = await self._js.get_msg(LOG, subject=f"keys.events.certificate.signed.{certificate_id}")
        except NotFoundError:
            return None
        return CertificateSigned.from_stored(found.data or b"", found.headers)

    def _forget(self) -> None:
        self.register = RevocationRegister()
        self._of_nobody.clear()

    def _hear(self, message: Msg) -> None:
        sequence, at = message.metadata.sequence.stream, message.metadata.timestamp
        event = decode_event(message, _EVENTS)[1]
        self.register.hear(sequence, at, event)
        if isinstance(event, CertificateRevoked) and event.existed and event.issuer_id is None:
            self._of_nobody.append((sequence, at, event))
