"""Status of certificates at any instant, and our CA certificates: a fold over the log. Pure."""

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

CA_PROFILES = (Profile.ROOT, Profile.INTERMEDIATE)
StatusHistoryEvent = (
    CertificateSigned | CertificateImported | CertificateHeld | CertificateReleased | CertificateRevoked
)


@dataclass(frozen=True, slots=True)
class CaRecord:
    """A CA certificate that this service signed or imported."""

    certificate_id: str
    profile: Profile
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of status from *at* on. A revocation may date back to its invalidityDate (RFC 5280, 5.3.2)."""

    at: datetime
    status: RevocationStatus


class StatusHistory:
    """The state of the fold: all CA certificates and, of other certificates, their changes of status only."""

    def __init__(self) -> None:
        self.cas: dict[str, CaRecord] = {}
        self._changes: dict[str, tuple[_Change, ...]] = {}
        self._by_serial: dict[tuple[str, int], str] = {}

    def apply(self, event: StatusHistoryEvent, at: datetime) -> None:
        """Applies an event. *at* is the time at which the stream stored it, which no publisher can choose."""
        match event:
            case CertificateSigned() | CertificateImported():
                if event.profile in CA_PROFILES:
                    self.cas[event.certificate_id] = CaRecord(
                        event.certificate_id, event.profile, event.certificate_pem
                    )
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
        """Returns the status at that instant. A revocation is final: later holds and releases do not change it."""
        changes = [each for each in self._changes.get(certificate_id, ()) if each.at <= at]
        if any(each.status is RevocationStatus.REVOKED for each in changes):
            return RevocationStatus.REVOKED
        return changes[-1].status if changes else RevocationStatus.GOOD

    def certificate_id_of(self, issuer_id: str, serial: int) -> str | None:
        """Returns the id of the certificate of that serial number, if its status ever changed."""
        return self._by_serial.get((issuer_id, serial))

    def _change(self, event: CertificateHeld | CertificateReleased | CertificateRevoked, change: _Change) -> None:
        self._changes[event.certificate_id] = (*self._changes.get(event.certificate_id, ()), change)
        if event.issuer_id is not None and event.serial is not None:
            self._by_serial[event.issuer_id, int(event.serial, 16)] = event.certificate_id
