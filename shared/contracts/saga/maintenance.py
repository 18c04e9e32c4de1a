"""Start commands and completion events of the sagas that the coordinator starts: expiry and publication."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.contracts.base import Id
from shared.contracts.key.commands import Approvals
from shared.contracts.saga.protocol import Completed, StartSaga


class ExpiryStage(StrEnum):
    EXPIRING = "expiring"
    EXPIRED = "expired"


class StartCertificateExpiry(StartSaga):
    """Handle the expiry of a certificate; the coordinator sends this."""

    certificate_id: Id
    stage: ExpiryStage


class CertificateExpiryCompleted(Completed):
    certificate_id: Id
    stage: ExpiryStage


class KeyExpiryStage(StrEnum):
    EXPIRED = "expired"
    OVERLAP_PASSED = "overlap-passed"  # of a rotation


class StartKeyExpiry(StartSaga):
    """Handle the expiry of a key; the coordinator sends this."""

    key_id: Id
    stage: KeyExpiryStage = KeyExpiryStage.EXPIRED


class KeyExpiryCompleted(Completed):
    key_id: Id
    stage: KeyExpiryStage = KeyExpiryStage.EXPIRED


class StartCrlPublication(StartSaga):
    issuer_id: Id
    approvals: Approvals = Field(default=0, description="number that the issuer's key requires")


class CrlPublicationCompleted(Completed):
    issuer_id: Id
    number: int | None = Field(description="of the new CRL; none: the previous one is complete and current")


class StartOcspPublication(StartSaga):
    issuer_id: Id
    responder_id: Id | None = None
    certificate_ids: Annotated[tuple[Id, ...], Field(max_length=64)] = ()
    after: int = Field(default=0, ge=0)


class OcspPublicationCompleted(Completed):
    issuer_id: Id
    batch_id: Id | None
