"""How many certificates stand, and for how long yet; and how long each CRL is good: told to operators by the log.

A reader of its own, only where telemetry is wanted: about 150 octets of memory for each certificate that stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, date, datetime
from typing import get_args

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from opentelemetry import metrics

from shared.contracts.certificate_events import (
    CertificateExpired,
    CertificateImported,
    CertificateRevoked,
    CertificateSigned,
    CertificateSuperseded,
    CrlPublished,
)
from shared.envelope import read_event
from shared.errors import Poison, Transient
from shared.log_reader import LogReader

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

_meter = metrics.get_meter("cim-keys")
_certificates = _meter.create_gauge(
    "cim_keys.certificates", "{certificate}", "Certificates neither revoked nor replaced, by days to their end"
)
_crls = _meter.create_gauge("cim_keys.crl.remaining", "s", "How long an issuer's last CRL is good yet")
log = logging.getLogger(__name__)


class Inventory:
    """The certificates that stand, by what the log says."""

    def __init__(self) -> None:
        self.forget()
        self._known: set[tuple[str, str]] = set()

    def forget(self) -> None:
        self._standing: dict[str, tuple[str, date]] = {}
        self._crls: dict[str, datetime] = {}

    def hear(self, message: Msg) -> None:
        try:
            event = read_event(message, _EVENTS)[1]
        except Poison as error:
            log.warning("%s is not counted: %s", message.subject, error)
            return
        match event:
            case CertificateSigned() | CertificateImported():
                self._standing[event.certificate_id] = str(event.profile), event.not_after.date()
            case CrlPublished():
                self._crls[event.certificate_id] = event.next_update
            case _:
                self._standing.pop(event.certificate_id, None)

    def counted(self, today: date) -> dict[tuple[str, str], int]:
        """How many, by profile and by within how many days their last one is; of what there was once, none too."""
        days = Counter(self._standing.values())
        found: Counter[tuple[str, str]] = Counter()
        for (profile, last), number in days.items():
            found[profile, _within((last - today).days)] += number
        self._known |= set(found)
        return {kind: found[kind] for kind in self._known}

    def crls(self, now: datetime) -> dict[str, float]:
        """How many seconds the last CRL of each issuer is good yet; less than none: it is out of date."""
        return {issuer: (until - now).total_seconds() for issuer, until in self._crls.items()}


def _within(days: int) -> str:
    return next((str(limit) for limit in WITHIN_DAYS if days <= limit), "more")


async def report_forever(js: JetStreamContext) -> None:
    inventory = Inventory()
    reader = LogReader(js, _PATTERNS, inventory.hear, inventory.forget)
    while True:
        try:
            await reader.to_the_end()
        except (Transient, nats.errors.Error, JetStreamError, TimeoutError) as error:
            log.warning("certificates are counted later: %s", error or type(error).__name__)
        else:
            _report(inventory, datetime.now(UTC))
        await asyncio.sleep(_EVERY)


def _report(inventory: Inventory, now: datetime) -> None:
    for (profile, within), number in inventory.counted(now.date()).items():
        _certificates.set(number, {"cim.profile": profile, "cim.expires_within_days": within})
    for issuer, seconds in inventory.crls(now).items():
        _crls.set(seconds, {"cim.issuer.id": issuer})
