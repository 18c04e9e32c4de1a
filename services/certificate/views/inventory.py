"""How many certificates stand, and for how long yet; and how long each CRL is good: told to operators by the log.

A reader of its own, only where telemetry is wanted: about 150 octets of memory for each certificate that stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, date, datetime
from typing import get_args

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateImported,
    CertificateRevoked,
    CertificateSigned,
    CertificateSuperseded,
    CrlPublished,
)
from shared.errors import Poison
from shared.messages.envelope import decode_event
from shared.nats.log_reader import LogReader
from shared.telemetry.instruments import Gauge

_Heard = (
    CertificateSigned
    | CertificateImported
    | CertificateRevoked
    | CertificateExpired
    | CertificateSuperseded
    | CrlPublished
)
_EVENTS: dict[str, type[_Heard]] = {kind.__name__: kind for kind in get_args(_Heard)}
_PATTERNS = tuple(
    f"keys.events.certificate.{kind}.*"
    for kind in ("signed", "imported", "revoked", "expired", "superseded", "crl-published")
)
WITHIN_DAYS = (0, 1, 7, 30, 90, 365)
_EVERY = 15.0

_certificates = Gauge(
    "cim_keys.certificates", "{certificate}", "Certificates neither revoked nor replaced, by days to their end"
)
_crls = Gauge("cim_keys.crl.remaining", "s", "How long the last CRL is good yet, of an issuer that makes CRLs")
log = logging.getLogger(__name__)


class Inventory:
    """The certificates that stand, by what the log says."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._standing: dict[str, tuple[str, date]] = {}
        self._crls: dict[str, tuple[datetime, date | None]] = {}

    def hear(self, message: Msg) -> None:
        try:
            event = decode_event(message, _EVENTS)[1]
        except Poison as error:
            log.warning("%s is not counted: %s", message.subject, error)
            return
        match event:
            case CertificateSigned() | CertificateImported():
                self._standing[event.certificate_id] = str(event.profile), event.not_after.date()
            case CrlPublished():
                self._crls[event.certificate_id] = event.next_update, self._last_day_of(event.certificate_id)
            case CertificateSuperseded():  # it is used no more, but what it issued may be revoked yet
                self._standing.pop(event.certificate_id, None)
            case CertificateRevoked() | CertificateExpired():
                self._standing.pop(event.certificate_id, None)
                self._crls.pop(event.certificate_id, None)

    def _last_day_of(self, issuer_id: str) -> date | None:
        if issuer_id in self._standing:
            return self._standing[issuer_id][1]
        return self._crls[issuer_id][1] if issuer_id in self._crls else None

    def counted(self, today: date) -> dict[tuple[str, str], int]:
        """How many, by profile and by within how many days their last one is. What has ended needs nobody any more,
        whether or not the log says yet that it has."""
        days = Counter(self._standing.values())
        found: Counter[tuple[str, str]] = Counter()
        for (profile, last), number in days.items():
            if last >= today:
                found[profile, _within((last - today).days)] += number
        return dict(found)

    def crls(self, now: datetime) -> dict[str, float]:
        """How many seconds the last CRL of each issuer is good yet; less than none: it is out of date. Whose end has
        come makes no more."""
        return {
            issuer: (until - now).total_seconds()
            for issuer, (until, last) in self._crls.items()
            if last is None or last >= now.date()
        }


def _within(days: int) -> str:
    return next((str(limit) for limit in WITHIN_DAYS if days <= limit), "more")


async def report_forever(js: JetStreamContext) -> None:
    inventory = Inventory()
    reader = LogReader(js, _PATTERNS, inventory.hear, inventory.forget)
    counted = False
    while True:
        try:
            await reader.catch_up()
            counted = True
        except Exception as error:  # noqa: BLE001 - who counts must not end in silence, whatever it is
            log.warning("certificates are counted later: %s", error if str(error) else type(error).__name__)
        if counted:  # time goes on, whether or not there is anything new to be heard
            _report(inventory, datetime.now(UTC))
        await asyncio.sleep(_EVERY)


def _report(inventory: Inventory, now: datetime) -> None:
    counted = inventory.counted(now.date()).items()
    _certificates.set(
        "inventory",
        {
            (("cim.profile", profile), ("cim.expires_within_days", within)): number
            for (profile, within), number in counted
        },
    )
    _crls.set("inventory", {(("cim.issuer.id", issuer),): left for issuer, left in inventory.crls(now).items()})
