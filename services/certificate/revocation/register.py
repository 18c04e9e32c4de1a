"""Which certificates of which issuer are revoked: a fold over the events that say so. Pure: no clock, no IO.

The same events in the same order give the same register, and so the same CRL, octet by octet.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from services.certificate.der import crl_entry
from shared.contracts.certificate.events import CertificateHeld, CertificateReleased, CertificateRevoked
from shared.contracts.certificate.value_types import RevocationReason

RevocationEvent = CertificateHeld | CertificateReleased | CertificateRevoked


@dataclass(frozen=True, slots=True)
class RevocationEntry:
    """*reason* None: it is held (certificateHold). *sequence* is of the event in the log; *encoded* its CRL entry."""

    serial: int
    at: datetime
    reason: RevocationReason | None
    not_after: datetime | None
    sequence: int
    encoded: bytes


@dataclass(slots=True)
class _Issuer:
    revoked: dict[int, RevocationEntry] = field(default_factory=dict)
    changes: dict[int, int] = field(default_factory=dict)
    changed: int = 0


class RevocationRegister:
    """Where the fold stands. *heard* is the sequence of the last event that it has taken in."""

    def __init__(self) -> None:
        self.heard = 0
        self._issuers: dict[str, _Issuer] = {}

    def hear(self, sequence: int, at: datetime, event: RevocationEvent) -> None:
        """*at* is when the log took the event in: its publisher cannot choose that. Heard twice, it counts once."""
        if sequence <= self.heard:
            return
        self.heard = sequence
        self.hear_late(sequence, at, event)

    def hear_late(self, sequence: int, at: datetime, event: RevocationEvent) -> None:
        """What was heard already, and is understood only now."""
        if event.issuer_id is None or event.serial is None:
            return  # a root, which no CRL names, or an id that was voided before any certificate had it
        issuer, serial = self._issuers.setdefault(event.issuer_id, _Issuer()), int(event.serial, 16)
        match event:
            case CertificateHeld(not_after=not_after):
                if serial not in issuer.revoked:
                    issuer.revoked[serial] = _revocation(sequence, serial, at, not_after)
            case CertificateReleased():
                if (held := issuer.revoked.get(serial)) is not None and held.reason is None:
                    del issuer.revoked[serial]
            case CertificateRevoked():
                if not (event.existed and event.signed):
                    return  # nobody can have it: there is nothing to warn of
                held = issuer.revoked.get(serial)
                if held is not None and held.reason is not None:
                    return
                since = at if held is None else held.at  # X.509, 9.5.3.1: a hold that became final counts from the hold
                issuer.revoked[serial] = _revocation(
                    sequence, serial, since, event.not_after, reason=event.reason, invalid_since=event.invalidity_date
                )
            case _:
                assert_never(event)
        issuer.changes[serial] = issuer.changed = sequence

    def of(self, issuer_id: str) -> tuple[RevocationEntry, ...]:
        """What is revoked or held of that issuer, in no order."""
        return tuple(self._issuers[issuer_id].revoked.values()) if issuer_id in self._issuers else ()

    def find(self, issuer_id: str, serial: int) -> RevocationEntry | None:
        return self._issuers[issuer_id].revoked.get(serial) if issuer_id in self._issuers else None

    def changed(self, issuer_id: str, serial: int | None = None) -> int:
        """The sequence of the last event about a certificate of that issuer, or about the one of that *serial*."""
        issuer = self._issuers.get(issuer_id)
        if issuer is None:
            return 0
        return issuer.changed if serial is None else issuer.changes.get(serial, 0)

    def issuers(self) -> tuple[str, ...]:
        return tuple(self._issuers)


def _revocation(
    sequence: int,
    serial: int,
    at: datetime,
    not_after: datetime | None,
    *,
    reason: RevocationReason | None = None,
    invalid_since: datetime | None = None,
) -> RevocationEntry:
    second = at.replace(microsecond=0)  # X.509 knows no smaller part of time
    encoded = crl_entry(serial, second, reason, invalid_since)
    return RevocationEntry(serial, second, reason, not_after, sequence, encoded)
