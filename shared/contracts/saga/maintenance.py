"""The words of the sagas that the coordinator begins by itself: at an event, or when a time has come."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.contracts.base import Id
from shared.contracts.key.commands import Approvals
from shared.contracts.saga.protocol import CompletionAnnouncement, StartSaga


class ExpiryStage(StrEnum):
    EXPIRING = "expiring"
    EXPIRED = "expired"


class StartCertificateExpiry(StartSaga):
    """Begun by the coordinator when a certificate's time has come."""

    certificate_id: Id
    stage: ExpiryStage


class CertificateExpiryCompleted(CompletionAnnouncement):
    certificate_id: Id
    stage: ExpiryStage


class KeyExpiryStage(StrEnum):
    EXPIRED = "expired"
    OVERLAP_PASSED = "overlap-passed"  # of a rotation


class StartKeyExpiry(StartSaga):
    """Begun by the coordinator when a key's time has come."""

    key_id: Id
    stage: KeyExpiryStage = KeyExpiryStage.EXPIRED


class KeyExpiryCompleted(CompletionAnnouncement):
    key_id: Id
    stage: KeyExpiryStage = KeyExpiryStage.EXPIRED


class StartCrlPublication(StartSaga):
    issuer_id: Id
    approvals: Approvals = Field(default=0, description="as many as the issuer's key demands")


class CrlPublicationCompleted(CompletionAnnouncement):
    issuer_id: Id
    number: int | None = Field(description="of the new CRL; none: the one before says all there is to say")


class StartOcspPublication(StartSaga):
    issuer_id: Id
    responder_id: Id | None = None
    certificate_ids: Annotated[tuple[Id, ...], Field(max_length=64)] = ()
    after: int = Field(default=0, ge=0)


class OcspPublicationCompleted(CompletionAnnouncement):
    issuer_id: Id
    batch_id: Id | None
