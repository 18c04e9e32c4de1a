"""What the log says of revocations, read when it is asked for: no message can be missed, for none is waited for."""

from __future__ import annotations

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from services.certificate.revocation_register import Register, RevocationEvent
from shared.contracts.certificate_events import CertificateHeld, CertificateReleased, CertificateRevoked
from shared.envelope import read_event
from shared.log_reader import LogReader

_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in ("held", "released", "revoked"))
_EVENTS: dict[str, type[RevocationEvent]] = {
    kind.__name__: kind for kind in (CertificateHeld, CertificateReleased, CertificateRevoked)
}


class Revocations:
    """The register of what is revoked, as the log has it."""

    def __init__(self, js: JetStreamContext) -> None:
        self.register = Register()
        self._reader = LogReader(js, _PATTERNS, self._hear, self._forget)

    async def through(self) -> int:
        """Hear all that the log holds now, and tell how far that is. Raises Poison for what cannot be understood."""
        return await self._reader.to_the_end()

    def _forget(self) -> None:
        self.register = Register()

    def _hear(self, message: Msg) -> None:
        metadata = message.metadata
        self.register.hear(metadata.sequence.stream, metadata.timestamp, read_event(message, _EVENTS)[1])
