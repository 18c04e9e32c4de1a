"""Reads in the log who our authorities are and what was revoked when, each time that it is asked, as far as it goes.

There is no subscription that stays open: a broken one is as silent as one that has nothing to say. What was read is
remembered, so that only what is new is read.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from services.certificate.verification.past import AUTHORITIES, Past, PastEvent
from shared.catalog import LOG
from shared.contracts.certificate_events import (
    CertificateHeld,
    CertificateImported,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.envelope import read_event
from shared.errors import Poison, Transient
from shared.headers import event_lineage
from shared.kv import to_the_end

_ISSUED: dict[str, type[CertificateSigned | CertificateImported]] = {
    "signed": CertificateSigned,
    "imported": CertificateImported,
}
_KINDS: dict[str, type[PastEvent]] = {
    **_ISSUED,
    "held": CertificateHeld,
    "released": CertificateReleased,
    "revoked": CertificateRevoked,
}
_LANGUAGE = {kind.__name__: kind for kind in _KINDS.values()}
_PATTERNS = [f"keys.events.certificate.{kind}.*" for kind in _KINDS]
_WORDS = tuple(f'"{profile}"'.encode() for profile in AUTHORITIES)
log = logging.getLogger(__name__)


class Authorities:
    """*past* is what was heard of the log; `caught_up` has it be all that the log holds."""

    def __init__(self, js: JetStreamContext) -> None:
        self.past = Past()
        self._js = js
        self._turn = asyncio.Lock()
        self._heard = 0
        self._last_id = ""

    async def caught_up(self) -> None:
        """Hear all that stood in the log when this was asked. Raises Poison for what cannot be understood."""
        async with self._turn:
            if not await self._hear_on():
                log.warning("the log is not the one that was heard before: it is heard from its beginning")
                self._forget()
                await self._hear_on()

    async def certificate_pem(self, certificate_id: str) -> str | None:
        """The certificate of that id, read from the log; None: there is none."""
        for token, kind in _ISSUED.items():
            try:
                found = await self._js.get_msg(LOG, subject=f"keys.events.certificate.{token}.{certificate_id}")
            except NotFoundError:
                continue
            return kind.model_validate_json(found.data or b"").certificate_pem
        return None

    def _forget(self) -> None:
        self.past, self._heard, self._last_id = Past(), 0, ""

    async def _hear_on(self) -> bool:
        """False: what was heard last does not stand in the log any longer (a backup was restored, power was cut)."""
        if self._heard and not await self._still_stands():
            return False
        subscription = await self._js.subscribe(
            _PATTERNS[0],
            stream=LOG,
            ordered_consumer=True,
            config=ConsumerConfig(
                filter_subjects=_PATTERNS,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._heard + 1,
            ),
        )
        expected = 0
        async with aclosing(to_the_end(subscription)) as messages:
            async for message in messages:
                expected += 1
                if message.metadata.sequence.consumer != expected:
                    raise Transient("events were lost on the way from the log; they are asked for again")
                self._hear(message)
        return True

    async def _still_stands(self) -> bool:
        try:
            last = await self._js.get_msg(LOG, seq=self._heard)
        except NotFoundError:
            return False
        return bool((last.headers or {}).get("Nats-Msg-Id", "") == self._last_id)

    def _hear(self, message: Msg) -> None:
        sequence, headers = message.metadata.sequence.stream, message.headers or {}
        token = message.subject.split(".")[3]
        if token not in _ISSUED or any(
            word in message.data for word in _WORDS
        ):  # most are of leaves: not worth reading
            try:
                event_lineage(headers)
            except Poison:
                log.warning("event %d (%s) is none of the suite's and is passed over", sequence, message.subject)
            else:
                self.past.hear(read_event(message, _LANGUAGE)[1], message.metadata.timestamp)
        self._heard, self._last_id = sequence, headers.get("Nats-Msg-Id", "")
