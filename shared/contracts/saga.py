"""What the coordinator can be asked to see through, and what it announces. One `start` and one `completed` a saga."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import (
    DERIVED,
    Command,
    DeviceSerial,
    Event,
    Fingerprint,
    Id,
    Message,
    Name,
    Pem,
    Text,
    ValidityDays,
)
from shared.contracts.certificate import Email
from shared.contracts.key import Algorithm
from shared.contracts.yubikey import AnySlot, Slot


class OfSaga(Message):
    aggregate_type: ClassVar[str] = "saga"
    identified_by: ClassVar[str] = "saga_id"


class StartSaga(OfSaga, Command):
    """Begin a saga; with a `saga_id` of the client's choice, beginning twice is one saga."""

    saga_id: Id = DERIVED


class CancelSaga(OfSaga, Command):
    """Stop going forward and undo what was done."""

    saga_id: Id
    reason: Text = "cancelled by an operator"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class CaAlgorithm(StrEnum):
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    RSA_2048 = "rsa-2048"
    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    ED25519 = "ed25519"


class CertificationAuthority(_Value):
    common_name: Name
    algorithm: CaAlgorithm = CaAlgorithm.EC_P384
    validity_days: ValidityDays


class StartPkiBootstrap(StartSaga):
    organization: Name
    root: CertificationAuthority
    intermediate: CertificationAuthority


class PivPurpose(StrEnum):
    AUTHENTICATION = "authentication"
    DIGITAL_SIGNATURE = "digital-signature"
    KEY_MANAGEMENT = "key-management"
    CARD_AUTHENTICATION = "card-authentication"


class KeyOrigin(StrEnum):
    ON_DEVICE = "on-device"
    IMPORTED = "imported"


class PersonName(_Value):
    common_name: Name
    email: Email | None = None
    organization: Name | None = None


class StartCertificateProvisioning(StartSaga):
    issuer_id: Id
    subject: PersonName
    purpose: PivPurpose
    yubikey_serial: DeviceSerial
    slot: AnySlot | None = Field(default=None, description="default: the purpose's own (9a, 9c, 9d, 9e)")
    replace: bool = Field(default=False, description="whether what is in the slot may be overwritten")
    algorithm: Algorithm = Algorithm.EC_P256
    key_origin: KeyOrigin
    validity_days: ValidityDays


class _Announcement(OfSaga, Event):
    saga_id: Id
    saga_type: str
    sequence: int = Field(ge=0, description="counts this saga's announcements without gaps")

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.saga_id)


class SagaStarted(_Announcement):
    definition_version: int
    steps: tuple[str, ...]


class SagaStepFinished(_Announcement):
    step: str
    attempts: int

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_type, self.step, self.saga_id)


class SagaCompensating(_Announcement):
    step: str | None = Field(description="the step that did not succeed; none when an operator cancelled")
    code: str
    reason: str
    steps_to_undo: tuple[str, ...]


class SagaCompensated(_Announcement):
    """All that was done is undone."""

    reason: str
    undone: tuple[str, ...]


class LeftOver(_Value):
    step: str
    reason: str


class SagaFailed(_Announcement):
    """Something could not be undone: a person is needed."""

    reason: str
    undone: tuple[str, ...]
    left_over: tuple[LeftOver, ...]


class _Completed(_Announcement):
    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return (self.saga_id,)


class PkiBootstrapCompleted(_Completed):
    root_certificate_id: Id
    intermediate_certificate_id: Id
    root_certificate_pem: Pem
    intermediate_certificate_pem: Pem


class CertificateProvisioningCompleted(_Completed):
    key_id: Id
    certificate_id: Id
    slot: Slot
    fingerprint_sha256: Annotated[Fingerprint, Field(description="of the certificate's DER")]
    certificate_pem: Pem


SagaCompleted = PkiBootstrapCompleted | CertificateProvisioningCompleted
SagaEvent = (
    SagaStarted
    | SagaStepFinished
    | SagaCompensating
    | SagaCompensated
    | SagaFailed
    | PkiBootstrapCompleted
    | CertificateProvisioningCompleted
)
SagaCommand = StartPkiBootstrap | StartCertificateProvisioning | CancelSaga
