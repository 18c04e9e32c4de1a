"""What the log says of revocations, read when it is asked for: no message can be missed, for none is waited for.

A subscription that is always open would have to be watched: one that a restart of the server has broken is silent like
one that has nothing to say (facts.md). So the end of the log is looked up each time, and what was appended since is
read by a consumer that lives as long as that.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, RawStreamMsg
from nats.js.errors import NotFoundError

from services.certificate.revocation_register import Register, RevocationEvent
from shared.catalog import LOG
from shared.contracts.certificate_events import CertificateHeld, CertificateReleased, CertificateRevoked
from shared.envelope import read_event
from shared.errors import Poison, Transient
from shared.headers import event_lineage
from shared.kv import to_the_end

_PATTERNS = tuple(f"keys.events.certificate.{kind}.*" for kind in ("held", "released", "revoked"))
_EVENTS: dict[str, type[RevocationEvent]] = {
    kind.__name__: kind for kind in (CertificateHeld, CertificateReleased, CertificateRevoked)
}
_Mark = tuple[str, str]
log = logging.getLogger(__name__)


class Revocations:
    """The register of what is revoked, as the log has it."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js
        self._turn = asyncio.Lock()
        self._mark: _Mark | None = None
        self.register = Register()

    async def through(self) -> int:
        """Hear all that the log holds now, and tell how far that is. Raises Poison for what cannot be understood."""
        async with self._turn:
            last = await self._last()
            if last is None:
                self._forget()
            elif last.seq != self.register.heard or _mark_of(last) != self._mark:
                if not await self._hear_the_rest():
                    log.error("the log is not the one that was read before; it is read from its beginning")
                    self._forget()
                    await self._hear_the_rest()
                if self.register.heard < (last.seq or 0):
                    raise Transient(f"event {last.seq} of the log was not delivered")
            return self.register.heard

    def _forget(self) -> None:
        self.register, self._mark = Register(), None

    async def _last(self) -> RawStreamMsg | None:
        """The last event of the three kinds, from the leader, found by the subjects' index."""
        found = [each for each in await asyncio.gather(*map(self._last_of, _PATTERNS)) if each is not None]
        return max(found, key=lambda each: each.seq or 0, default=None)

    async def _last_of(self, pattern: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(LOG, subject=pattern)
        except NotFoundError:
            return None

    async def _hear_the_rest(self) -> bool:
        """False: the event that was heard last is in the log no longer (a backup was restored, a power cut)."""
        subscription = await self._js.subscribe(
            _PATTERNS[0],
            stream=LOG,
            ordered_consumer=True,
            config=ConsumerConfig(
                filter_subjects=[*_PATTERNS],
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(self.register.heard, 1),
            ),
        )
        delivered = 0
        async with aclosing(to_the_end(subscription)) as messages:
            async for message in messages:
                delivered += 1
                if message.metadata.sequence.consumer != delivered:
                    raise Transient("events were lost on the way; they are asked for again")
                if delivered == 1 and self._mark is not None:
                    if message.metadata.sequence.stream != self.register.heard or _mark_of(message) != self._mark:
                        return False
                else:
                    self._hear(message)
        return delivered > 0 or self._mark is None

    def _hear(self, message: Msg) -> None:
        sequence, at = message.metadata.sequence.stream, message.metadata.timestamp
        try:
            event_lineage(message.headers or {})
        except Poison:
            log.warning("event %d (%s) is none of the suite's and is passed over", sequence, message.subject)
            self.register.pass_over(sequence)
        else:
            self.register.hear(sequence, at, read_event(message, _EVENTS)[1])
        self._mark = _mark_of(message)


def _mark_of(message: Msg | RawStreamMsg) -> _Mark:
    """What tells an event from any other that may come to stand in its place."""
    return message.subject or "", (message.headers or {}).get("Nats-Msg-Id", "")
