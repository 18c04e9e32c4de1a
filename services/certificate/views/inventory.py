"""Inventory metrics: certificates by days to expiry, and remaining validity of CRLs.

It reads the log on its own, and only with telemetry on: it keeps about 150 octets for each valid certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import get_args

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from opentelemetry.metrics import Meter

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
from shared.telemetry.instruments import METER, Gauge, Labels

_InventoryEvent = (
    CertificateSigned
    | CertificateImported
    | CertificateRevoked
    | CertificateExpired
    | CertificateSuperseded
    | CrlPublished
)
_EVENTS: dict[str, type[_InventoryEvent]] = {kind.__name__: kind for kind in get_args(_InventoryEvent)}
_PATTERNS = tuple(
    f"keys.events.certificate.{kind}.*"
    for kind in ("signed", "imported", "revoked", "expired", "superseded", "crl-published")
)
WITHIN_DAYS = (0, 1, 7, 30, 90, 365)
_INTERVAL_S = 15.0

log = logging.getLogger(__name__)


class InventoryGauges:
    """Gauges of certificates and CRLs."""

    def __init__(self, meter: Meter = METER) -> None:
        self._certificates = Gauge(
            "cim_keys.certificates", "{certificate}", "Valid certificates by days to expiry", meter=meter
        )
        self._crls = Gauge("cim_keys.crl.remaining", "s", "Remaining validity of each issuer's last CRL", meter=meter)

    def report(self, inventory: Inventory, now: datetime) -> None:
        counts = inventory.count(now.date()).items()
        certificates: dict[Labels, float] = {
            (("cim.profile", profile), ("cim.expires_within_days", within)): number
            for (profile, within), number in counts
        }
        self._certificates.set("inventory", certificates)
        crls: dict[Labels, float] = {
            (("cim.issuer.id", issuer),): remaining_s for issuer, remaining_s in inventory.crls(now).items()
        }
        self._crls.set("inventory", crls)


_GAUGES = InventoryGauges()


class Inventory:
    """Valid certificates and current CRLs: a fold over the log."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._valid: dict[str, tuple[str, date]] = {}
        self._crls: dict[str, tuple[datetime, date | None]] = {}

    def apply(self, message: Msg) -> None:
        try:
            event = decode_event(message, _EVENTS)[1]
        except Poison as error:
            log.warning("the inventory skips %s: %s", message.subject, error)
        else:
            self.apply_event(event)

    def apply_event(self, event: _InventoryEvent) -> None:
        match event:
            case CertificateSigned() | CertificateImported():
                self._valid[event.certificate_id] = str(event.profile), event.not_after.date()
            case CrlPublished():
                self._crls[event.certificate_id] = event.next_update, self._last_day_of(event.certificate_id)
            case CertificateSuperseded():  # a superseded issuer still issues CRLs
                self._valid.pop(event.certificate_id, None)
            case CertificateRevoked() | CertificateExpired():
                self._valid.pop(event.certificate_id, None)
                self._crls.pop(event.certificate_id, None)

    def _last_day_of(self, issuer_id: str) -> date | None:
        if issuer_id in self._valid:
            return self._valid[issuer_id][1]
        return self._crls[issuer_id][1] if issuer_id in self._crls else None

    def count(self, today: date) -> dict[tuple[str, str], int]:
        """Counts unexpired certificates by profile and upper bound of days to expiry, from `WITHIN_DAYS`."""
        days = Counter(self._valid.values())
        found: Counter[tuple[str, str]] = Counter()
        for (profile, last), number in days.items():
            if last >= today:
                found[profile, _within((last - today).days)] += number
        return dict(found)

    def crls(self, now: datetime) -> dict[str, float]:
        """Returns the remaining validity in seconds of each issuer's last CRL, negative if out of date.

        It omits expired issuers, which publish no more CRLs.
        """
        return {
            issuer: (until - now).total_seconds()
            for issuer, (until, last) in self._crls.items()
            if last is None or last >= now.date()
        }


def _within(days: int) -> str:
    return next((str(limit) for limit in WITHIN_DAYS if days <= limit), "more")


async def report_forever(js: JetStreamContext) -> None:
    """Reads the log and sets the gauges, until it is cancelled."""
    inventory = Inventory()
    reader = LogReader(js, _PATTERNS, on_event=inventory.apply, on_reset=inventory.reset)
    await keep_reporting(reader.catch_up, lambda: _GAUGES.report(inventory, datetime.now(UTC)))


async def keep_reporting(
    catch_up: Callable[[], Awaitable[object]], report: Callable[[], None], interval_s: float = _INTERVAL_S
) -> None:
    """Calls *catch_up* and *report* every *interval_s*; reports go on while `catch_up` fails."""
    is_complete = False
    while True:
        try:
            await catch_up()
            is_complete = True
        except Exception as error:  # noqa: BLE001 - the loop must survive any error
            log.warning("inventory not updated, retrying: %s", error if str(error) else type(error).__name__)
        if is_complete:  # days to expiry change without new events
            report()
        await asyncio.sleep(interval_s)
