"""What the log says of authorities, and of revocations at any instant: a fold over its events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.certificate.verification.crl_checks import RevocationStatus
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateImported,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.contracts.certificate.value_types import Profile

AUTHORITIES = (Profile.ROOT, Profile.INTERMEDIATE)
StatusHistoryEvent = (
    CertificateSigned | CertificateImported | CertificateHeld | CertificateReleased | CertificateRevoked
)


@dataclass(frozen=True, slots=True)
class CaRecord:
    certificate_id: str
    profile: Profile
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class _Change:
    """*at*: since when it is so. A revocation may go back to when the key was lost (RFC 5280, 5.3.2)."""

    at: datetime
    to: RevocationStatus


class StatusHistory:
    """Where the fold stands. Kept are authorities, and of all other certificates only what changed their status."""

    def __init__(self) -> None:
        self.authorities: dict[str, CaRecord] = {}
        self._changes: dict[str, tuple[_Change, ...]] = {}
        self._by_serial: dict[tuple[str, int], str] = {}

    def apply(self, event: StatusHistoryEvent, at: datetime) -> None:
        """*at*: when the log took it in, which nobody who publishes can choose."""
        match event:
            case CertificateSigned() | CertificateImported():
                if event.profile in AUTHORITIES:
                    authority = CaRecord(event.certificate_id, event.profile, event.certificate_pem)
                    self.authorities[event.certificate_id] = authority
            case CertificateHeld():
                self._change(event, _Change(at, RevocationStatus.ON_HOLD))
            case CertificateReleased():
                self._change(event, _Change(at, RevocationStatus.GOOD))
            case CertificateRevoked():
                since = at if event.invalidity_date is None else min(at, event.invalidity_date)
                self._change(event, _Change(since, RevocationStatus.REVOKED))
            case _:
                assert_never(event)

    def status(self, certificate_id: str, at: datetime) -> RevocationStatus:
        """How it stood at that instant. Revoked is for good, whatever was said of holds."""
        changes = [each for each in self._changes.get(certificate_id, ()) if each.at <= at]
        if any(each.to is RevocationStatus.REVOKED for each in changes):
            return RevocationStatus.REVOKED
        return changes[-1].to if changes else RevocationStatus.GOOD

    def certificate_id_of(self, issuer_id: str, serial: int) -> str | None:
        """The id of the certificate of that serial, if its status ever changed."""
        return self._by_serial.get((issuer_id, serial))

    def _change(self, event: CertificateHeld | CertificateReleased | CertificateRevoked, change: _Change) -> None:
        self._changes[event.certificate_id] = (*self._changes.get(event.certificate_id, ()), change)
        if event.issuer_id is not None and event.serial is not None:
            self._by_serial[event.issuer_id, int(event.serial, 16)] = event.certificate_id
