"""What time does to a certificate: that its end is near is announced when its issuer's policy says, and its end is.

Begun by timers alone. Where there is nothing to do any more (it was revoked, or superseded), nothing is done.
"""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import PATIENT, PATIENTLY
from shared.contracts.certificate.commands import AnnounceExpiry, ExpireCertificate
from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateExpiring,
    CertificateImported,
    CertificateSigned,
)
from shared.contracts.saga.maintenance import CertificateExpiryCompleted, ExpiryStage, StartCertificateExpiry

Expiry = Saga[StartCertificateExpiry]
Known = CertificateSigned | CertificateImported


def its_end_is_near(saga: Expiry) -> bool:
    return saga.request.stage is ExpiryStage.EXPIRING


def its_end_has_come(saga: Expiry) -> bool:
    return saga.request.stage is ExpiryStage.EXPIRED


def announce_expiry(saga: Expiry) -> AnnounceExpiry:
    return AnnounceExpiry(certificate_id=saga.request.certificate_id)


def expire_certificate(saga: Expiry) -> ExpireCertificate:
    return ExpireCertificate(certificate_id=saga.request.certificate_id)


def completed(saga: Expiry) -> CertificateExpiryCompleted:
    return CertificateExpiryCompleted(
        **saga.heading, certificate_id=saga.request.certificate_id, stage=saga.request.stage
    )


def next_stage(event: Known, saga_id: str) -> StartCertificateExpiry:
    stage = ExpiryStage.EXPIRING if event.expiring_at else ExpiryStage.EXPIRED
    return StartCertificateExpiry(saga_id=saga_id, certificate_id=event.certificate_id, stage=stage)


def next_stage_at(event: Known) -> datetime:
    return event.expiring_at or event.not_after


def end(event: CertificateExpiring, saga_id: str) -> StartCertificateExpiry:
    return StartCertificateExpiry(saga_id=saga_id, certificate_id=event.certificate_id, stage=ExpiryStage.EXPIRED)


def end_at(event: CertificateExpiring) -> datetime:
    return event.not_after


CERTIFICATE_EXPIRY = Definition(
    saga_type="certificate-expiry",
    request=StartCertificateExpiry,
    completed=completed,
    within=2 * PATIENTLY,
    triggers=(
        Trigger(CertificateSigned, next_stage, next_stage_at),
        Trigger(CertificateImported, next_stage, next_stage_at),
        Trigger(CertificateExpiring, end, end_at),
    ),
    steps=(
        Step(
            announce_expiry,
            CertificateExpiring,
            may_stand=True,
            when=its_end_is_near,
            within=PATIENTLY,
            retry=PATIENT,
        ),
        Step(
            expire_certificate,
            CertificateExpired,
            may_stand=True,
            when=its_end_has_come,
            within=PATIENTLY,
            retry=PATIENT,
        ),
    ),
)
