"""Announces that a certificate is near its end, when its issuer's policy says so; then records that it has expired.

Only events trigger it. A certificate that was revoked or superseded meanwhile stays as it is.
"""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT
from shared.contracts.certificate.commands import AnnounceExpiry, ExpireCertificate
from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateExpiring,
    CertificateImported,
    CertificateSigned,
)
from shared.contracts.saga.maintenance import CertificateExpiryCompleted, ExpiryStage, StartCertificateExpiry

Expiry = Saga[StartCertificateExpiry]
IssuedOrImported = CertificateSigned | CertificateImported


def is_expiring(saga: Expiry) -> bool:
    return saga.request.stage is ExpiryStage.EXPIRING


def is_expired(saga: Expiry) -> bool:
    return saga.request.stage is ExpiryStage.EXPIRED


def announce_expiry(saga: Expiry) -> AnnounceExpiry:
    return AnnounceExpiry(certificate_id=saga.request.certificate_id)


def expire_certificate(saga: Expiry) -> ExpireCertificate:
    return ExpireCertificate(certificate_id=saga.request.certificate_id)


def completed(saga: Expiry) -> CertificateExpiryCompleted:
    return CertificateExpiryCompleted(
        **saga.heading, certificate_id=saga.request.certificate_id, stage=saga.request.stage
    )


def next_stage(event: IssuedOrImported, saga_id: str) -> StartCertificateExpiry:
    stage = ExpiryStage.EXPIRING if event.expiring_at else ExpiryStage.EXPIRED
    return StartCertificateExpiry(saga_id=saga_id, certificate_id=event.certificate_id, stage=stage)


def next_stage_at(event: IssuedOrImported) -> datetime:
    return event.expiring_at or event.not_after


def end(event: CertificateExpiring, saga_id: str) -> StartCertificateExpiry:
    return StartCertificateExpiry(saga_id=saga_id, certificate_id=event.certificate_id, stage=ExpiryStage.EXPIRED)


def end_at(event: CertificateExpiring) -> datetime:
    return event.not_after


CERTIFICATE_EXPIRY = Definition(
    saga_type="certificate-expiry",
    request=StartCertificateExpiry,
    completed=completed,
    timeout=2 * UNATTENDED_TIMEOUT,
    triggers=(
        Trigger(CertificateSigned, next_stage, at=next_stage_at),
        Trigger(CertificateImported, next_stage, at=next_stage_at),
        Trigger(CertificateExpiring, end, at=end_at),
    ),
    steps=(
        Step(
            announce_expiry,
            CertificateExpiring,
            already_done_ok=True,
            when=is_expiring,
            **UNATTENDED,
        ),
        Step(
            expire_certificate,
            CertificateExpired,
            already_done_ok=True,
            when=is_expired,
            **UNATTENDED,
        ),
    ),
)
