"""Register of revoked and held certificates per issuer: a fold over the log. Pure: no clock, no IO.

The same events in the same order give the same register, and so the same CRL, octet for octet.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from shared.contracts.certificate.events import CertificateHeld, CertificateReleased, CertificateRevoked
from shared.contracts.certificate.value_types import RevocationReason

RevocationEvent = CertificateHeld | CertificateReleased | CertificateRevoked
EncodeEntry = Callable[[int, datetime, RevocationReason | None, datetime | None], bytes]
"""Encodes a CRL entry from serial number, revocation date, reason (None: certificateHold) and invalidity date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationEntry:
    """A CRL entry. *reason* None means certificateHold; *sequence* is that of its event in the log."""

    serial: int
    at: datetime
    reason: RevocationReason | None
    not_after: datetime | None
    sequence: int
    encoded: bytes


@dataclass(slots=True)
class _IssuerRecord:
    """The entries of one issuer by serial number, and the sequences of the last changes."""

    entries: dict[int, RevocationEntry] = field(default_factory=dict)
    last_changes: dict[int, int] = field(default_factory=dict)
    last_change: int = 0


class RevocationRegister:
    """The state of the fold. *last_sequence* is the sequence of the last event that it has applied.

    It encodes each entry once, when it applies the event, and not again for every CRL.
    """

    def __init__(self, encode_entry: EncodeEntry) -> None:
        self.last_sequence = 0
        self._encode_entry = encode_entry
        self._issuers: dict[str, _IssuerRecord] = {}

    def apply(self, sequence: int, at: datetime, event: RevocationEvent) -> None:
        """Applies an event once. *at* is the time at which the stream stored it, which no publisher can choose."""
        if sequence <= self.last_sequence:
            return
        self.last_sequence = sequence
        self.apply_late(sequence, at, event)

    def apply_late(self, sequence: int, at: datetime, event: RevocationEvent) -> None:
        """Applies an event that `apply` has already passed without its issuer and serial number."""
        if event.issuer_id is None or event.serial is None:
            return  # a root, which no CRL lists, or an id that was voided before it had a certificate
        issuer, serial = self._issuers.setdefault(event.issuer_id, _IssuerRecord()), int(event.serial, 16)
        present = issuer.entries.get(serial)
        match event:
            case CertificateHeld():
                if present is None:
                    issuer.entries[serial] = self._entry(sequence, serial, at, event)
            case CertificateReleased():
                if present is not None and present.reason is None:
                    del issuer.entries[serial]
            case CertificateRevoked():
                if not (event.existed and event.signed):
                    return  # there was no signed certificate, so no client can present it
                if present is not None and present.reason is not None:
                    return
                # X.509, 9.5.3.1: a hold that becomes a revocation keeps the date of the hold
                revoked_at = at if present is None else present.at
                issuer.entries[serial] = self._entry(sequence, serial, revoked_at, event)
            case _:
                assert_never(event)
        issuer.last_changes[serial] = issuer.last_change = sequence

    def entries_of(self, issuer_id: str) -> tuple[RevocationEntry, ...]:
        """Returns the entries of that issuer, in no order."""
        return tuple(self._issuers[issuer_id].entries.values()) if issuer_id in self._issuers else ()

    def find(self, issuer_id: str, serial: int) -> RevocationEntry | None:
        return self._issuers[issuer_id].entries.get(serial) if issuer_id in self._issuers else None

    def last_change(self, issuer_id: str, serial: int | None = None) -> int:
        """Returns the sequence of the last event about that issuer's certificates, or about the one of *serial*."""
        issuer = self._issuers.get(issuer_id)
        if issuer is None:
            return 0
        return issuer.last_change if serial is None else issuer.last_changes.get(serial, 0)

    def issuers(self) -> tuple[str, ...]:
        return tuple(self._issuers)

    def _entry(
        self, sequence: int, serial: int, at: datetime, event: CertificateHeld | CertificateRevoked
    ) -> RevocationEntry:
        second = at.replace(microsecond=0)  # X.509 has no fractions of a second
        reason = event.reason if isinstance(event, CertificateRevoked) else None
        invalidity_date = event.invalidity_date if isinstance(event, CertificateRevoked) else None
        return RevocationEntry(
            serial=serial,
            at=second,
            reason=reason,
            not_after=event.not_after,
            sequence=sequence,
            encoded=self._encode_entry(serial, second, reason, invalidity_date),
        )
