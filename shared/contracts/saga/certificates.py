"""Start commands and completion events of the certificate sagas, and the unions of all saga messages."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.contracts.base import DeviceSerial, Fingerprint, Id, Name, Pem, Text, ValidityDays
from shared.contracts.certificate.commands import PathLength
from shared.contracts.certificate.ssh import Principal, SshCertificateKind, SshExtension, SshLine
from shared.contracts.certificate.value_types import (
    AnyProfile,
    DistinguishedName,
    NameConstraints,
    SubjectAlternativeName,
)
from shared.contracts.key.commands import Approvals
from shared.contracts.key.value_types import Algorithm, Value
from shared.contracts.saga.keys import KeyRotationSagaCompleted, StartKeyRotation
from shared.contracts.saga.maintenance import (
    CertificateExpiryCompleted,
    CrlPublicationCompleted,
    KeyExpiryCompleted,
    OcspPublicationCompleted,
    StartCertificateExpiry,
    StartCrlPublication,
    StartKeyExpiry,
    StartOcspPublication,
)
from shared.contracts.saga.nats import (
    NatsProvisioningCompleted,
    NatsUserIssuanceCompleted,
    NatsUserRevocationCompleted,
    StartNatsProvisioning,
    StartNatsUserIssuance,
    StartNatsUserRevocation,
)
from shared.contracts.saga.people import (
    DeviceLostCompleted,
    PersonOffboardingCompleted,
    PersonOnboardingCompleted,
    StartDeviceLost,
    StartPersonOffboarding,
    StartPersonOnboarding,
)
from shared.contracts.saga.protocol import (
    CancelSaga,
    Completed,
    PauseSaga,
    ResolveSaga,
    ResumeSaga,
    RetrySaga,
    SagaCompensated,
    SagaCompensating,
    SagaFailed,
    SagaNotUndone,
    SagaPaused,
    SagaResolved,
    SagaResumed,
    SagaRetried,
    SagaSignalled,
    SagaStarted,
    SagaStepFinished,
    SagaStuck,
    SagaUndone,
    SagaWaiting,
    SagaWithdrawing,
    SignalSaga,
    StartSaga,
    WithdrawSaga,
)
from shared.contracts.saga.provisioning import CertificateProvisioningCompleted, StartCertificateProvisioning
from shared.contracts.yubikey.slots import AnySlot


class CaAlgorithm(StrEnum):
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    RSA_2048 = "rsa-2048"
    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    ED25519 = "ed25519"
    ML_DSA_65 = "ml-dsa-65"


class CertificationAuthority(Value):
    common_name: Name
    algorithm: CaAlgorithm = CaAlgorithm.EC_P384
    validity_days: ValidityDays


class StartPkiBootstrap(StartSaga):
    organization: Name
    root: CertificationAuthority
    intermediate: CertificationAuthority
    approvals: Approvals = 0


class PkiBootstrapCompleted(Completed):
    root_certificate_id: Id
    intermediate_certificate_id: Id
    root_certificate_pem: Pem
    intermediate_certificate_pem: Pem
    trust_bundle_id: Id | None = None


class StartCertificateIssuance(StartSaga):
    """Issue a certificate for a CSR, for a public key, or for a key that is generated and stays in custody."""

    issuer_id: Id
    profile: AnyProfile
    subject: DistinguishedName
    sans: Annotated[tuple[SubjectAlternativeName, ...], Field(max_length=32)] = ()
    csr_pem: Pem | None = None
    public_key_pem: Pem | None = None
    algorithm: Algorithm | None = Field(default=None, description="generate the key in the key service, where it stays")
    exportable: bool = Field(default=False, description="true: the generated key may be exported, sealed")
    validity_days: ValidityDays
    path_length: PathLength | None = None
    name_constraints: NameConstraints | None = None
    approvals: Approvals = Field(default=0, description="number that the issuer's key requires")

    @model_validator(mode="after")
    def _one_source_of_the_key(self) -> Self:
        if sum(each is not None for each in (self.csr_pem, self.public_key_pem, self.algorithm)) != 1:
            raise ValueError("exactly one of csr_pem, public_key_pem and algorithm must be given")
        return self


class CertificateIssuanceCompleted(Completed):
    certificate_id: Id
    key_id: Id | None
    fingerprint_sha256: Fingerprint
    certificate_pem: Pem


class StartCertificateRenewal(StartSaga):
    """Issue a successor of a certificate; the old one stays valid until it expires or is revoked."""

    certificate_id: Id = Field(description="of the certificate to renew")
    csr_pem: Pem | None = Field(default=None, description="default: the same key")
    public_key_pem: Pem | None = Field(default=None, description="of a new key, without a CSR")
    key_id: Id | None = Field(default=None, description="of that new key, if it is in custody")
    validity_days: ValidityDays | None = None
    yubikey_serial: DeviceSerial | None = Field(
        default=None, description="import the new certificate there, over the old one"
    )
    slot: AnySlot | None = None
    approvals: Approvals = Field(default=0, description="number that the issuer's key requires")

    @model_validator(mode="after")
    def _a_slot_has_a_device(self) -> Self:
        if (self.yubikey_serial is None) != (self.slot is None):
            raise ValueError("yubikey_serial and slot must be given together")
        if self.public_key_pem is not None and self.csr_pem is not None:
            raise ValueError("at most one of public_key_pem and csr_pem may be given")
        return self


class CertificateRenewalCompleted(Completed):
    predecessor_id: Id
    certificate_id: Id
    fingerprint_sha256: Fingerprint
    certificate_pem: Pem


class StartSshCertificateIssuance(StartSaga):
    ca_key_id: Id = Field(description="a key whose purpose is ssh-certificate-signing")
    kind: SshCertificateKind
    public_key: SshLine
    key_identity: Text
    principals: Annotated[tuple[Principal, ...], Field(min_length=1, max_length=256)]
    validity_minutes: int = Field(ge=1, le=5_270_400)
    force_command: Text | None = None
    source_addresses: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    extensions: Annotated[tuple[SshExtension, ...], Field(max_length=8)] | None = None


class SshCertificateIssuanceCompleted(Completed):
    ssh_certificate_id: Id
    certificate: SshLine


SagaCompleted = (
    PkiBootstrapCompleted
    | CertificateProvisioningCompleted
    | CertificateIssuanceCompleted
    | CertificateRenewalCompleted
    | CertificateExpiryCompleted
    | KeyExpiryCompleted
    | CrlPublicationCompleted
    | OcspPublicationCompleted
    | SshCertificateIssuanceCompleted
    | KeyRotationSagaCompleted
    | PersonOnboardingCompleted
    | PersonOffboardingCompleted
    | DeviceLostCompleted
    | NatsProvisioningCompleted
    | NatsUserIssuanceCompleted
    | NatsUserRevocationCompleted
)
SagaAnnouncement = (
    SagaStarted
    | SagaStepFinished
    | SagaWaiting
    | SagaSignalled
    | SagaPaused
    | SagaResumed
    | SagaStuck
    | SagaRetried
    | SagaResolved
    | SagaCompensating
    | SagaCompensated
    | SagaFailed
    | SagaWithdrawing
    | SagaUndone
    | SagaNotUndone
)
SagaEvent = SagaAnnouncement | SagaCompleted
SagaCommand = (
    StartPkiBootstrap
    | StartCertificateProvisioning
    | StartCertificateIssuance
    | StartCertificateRenewal
    | StartCertificateExpiry
    | StartKeyExpiry
    | StartCrlPublication
    | StartOcspPublication
    | StartSshCertificateIssuance
    | StartKeyRotation
    | StartPersonOnboarding
    | StartPersonOffboarding
    | StartDeviceLost
    | StartNatsProvisioning
    | StartNatsUserIssuance
    | StartNatsUserRevocation
    | CancelSaga
    | WithdrawSaga
    | PauseSaga
    | ResumeSaga
    | RetrySaga
    | ResolveSaga
    | SignalSaga
)
