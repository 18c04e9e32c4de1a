"""Reads in the log who our authorities are and what was revoked when, each time that it is asked, as far as it goes.

There is no subscription that stays open: a broken one is as silent as one that has nothing to say. What was read is
remembered, so that only what is new is read.
"""

from __future__ import annotations

import asyncio
import logging

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
_SILENCE = 10.0
log = logging.getLogger(__name__)


class Authorities:
    """*past* is what was heard of the log; `caught_up` has it be all that the log holds."""

    def __init__(self, js: JetStreamContext) -> None:
        self.past = Past()
        self._js = js
        self._turn = asyncio.Lock()
        self._heard = 0
        self._last_id = ""
        self._delivered = 0

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
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def hear(message: Msg) -> None:
            if ended.done():
                return
            try:
                self._hear(message)
            except Exception as problem:  # noqa: BLE001 - whatever it is, whoever asked must hear of it
                ended.set_exception(problem)
            else:
                if message.metadata.num_pending == 0:
                    ended.set_result(None)

        self._delivered = 0
        subscription = await self._js.subscribe(
            _PATTERNS[0],
            stream=LOG,
            cb=hear,  # next_msg makes tasks of each message, and nearly twice the work
            ordered_consumer=True,
            config=ConsumerConfig(
                filter_subjects=_PATTERNS,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._heard + 1,
            ),
        )
        try:
            info = await subscription.consumer_info()
            delivered = info.delivered.consumer_seq if info.delivered else 0
            if (info.num_pending or 0) + delivered:
                await self._until(ended)
        finally:
            await subscription.unsubscribe()
        return True

    async def _until(self, ended: asyncio.Future[None]) -> None:
        """Wait for the end of the log as long as something of it is heard."""
        while not ended.done():
            before = self._delivered
            await asyncio.wait([ended], timeout=_SILENCE)
            if not ended.done() and self._delivered == before:
                raise Transient("the log is silent before its end; it is asked again")
        ended.result()

    async def _still_stands(self) -> bool:
        try:
            last = await self._js.get_msg(LOG, seq=self._heard)
        except NotFoundError:
            return False
        return bool((last.headers or {}).get("Nats-Msg-Id", "") == self._last_id)

    def _hear(self, message: Msg) -> None:
        self._delivered += 1
        if message.metadata.sequence.consumer != self._delivered:
            raise Transient("events were lost on the way from the log; they are asked for again")
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
