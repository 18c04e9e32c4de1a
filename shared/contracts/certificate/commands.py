"""Commands about X.509 certificates and the CRLs of their issuers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from shared.contracts.base import DERIVED, Base64, Command, Id, Message, Pem, ValidityDays
from shared.contracts.certificate.value_types import (
    AnyProfile,
    CertificateFormat,
    DistinguishedName,
    NameConstraints,
    Reason,
    RevocationReason,
    SubjectAlternativeName,
    VerifiedUsage,
)
from shared.contracts.key.value_types import Algorithm

Signature = Annotated[Base64, Field(min_length=1, max_length=4096)]
PathLength = Annotated[int, Field(ge=0, le=8)]
_Chain = Annotated[tuple[Pem, ...], Field(max_length=16)]


class CertificateMessage(Message):
    aggregate_type: ClassVar[str] = "certificate"
    identified_by: ClassVar[str] = "certificate_id"


class CheckIssuance(CertificateMessage, Command):
    """Check whether the issuer would issue such a certificate now. Nothing is created."""

    certificate_id: Id = DERIVED
    profile: AnyProfile
    issuer_id: Id
    signing_key_id: Id | None = Field(
        default=None, description="default: the key that the issuer's certificate certifies"
    )
    algorithm: Algorithm = Field(description="of the key to be certified")
    validity_days: ValidityDays
    subject: DistinguishedName | None = Field(default=None, description="checked too if given")
    sans: Annotated[tuple[SubjectAlternativeName, ...], Field(max_length=32)] = ()


class CreateCertificate(CertificateMessage, Command):
    """Build the TBSCertificate. The caller has it signed; `certificate.sign` attaches the signature."""

    certificate_id: Id = DERIVED
    profile: AnyProfile
    subject: DistinguishedName
    sans: Annotated[tuple[SubjectAlternativeName, ...], Field(max_length=32)] = ()
    public_key_pem: Pem | None = None
    csr_pem: Pem | None = None
    issuer_id: Id | None = Field(default=None, description="the issuer's certificate; none: a self-signed root")
    signing_key_id: Id | None = Field(
        default=None, description="default: the key that the issuer's certificate certifies"
    )
    key_id: Id | None = Field(default=None, description="id of the certified key, if it has one")
    validity_days: ValidityDays
    path_length: PathLength | None = Field(default=None, description="of a CA certificate; default: its profile's")
    name_constraints: NameConstraints | None = Field(default=None, description="of a CA certificate")

    @model_validator(mode="after")
    def _one_source_of_the_public_key(self) -> Self:
        if (self.public_key_pem is None) == (self.csr_pem is None):
            raise ValueError("exactly one of public_key_pem and csr_pem must be given")
        return self


class RenewCertificate(CertificateMessage, Command):
    """Build a successor of *predecessor_id*: same issuer, profile and names; the same key or a new one."""

    certificate_id: Id = Field(default=DERIVED, description="of the new certificate")
    predecessor_id: Id
    public_key_pem: Pem | None = Field(default=None, description="default: the predecessor's key")
    csr_pem: Pem | None = None
    key_id: Id | None = Field(default=None, description="default: the predecessor's, with its key")
    validity_days: ValidityDays | None = Field(default=None, description="default: as long as the predecessor's")

    @model_validator(mode="after")
    def _one_source_of_a_new_key(self) -> Self:
        if self.public_key_pem is not None and self.csr_pem is not None:
            raise ValueError("at most one of public_key_pem and csr_pem may be given")
        return self


class CrossCertify(CertificateMessage, Command):
    """Build a certificate of *issuer_id* for another CA, with that CA's name, key and key identifier."""

    certificate_id: Id = DERIVED
    subject_certificate_pem: Pem
    issuer_id: Id
    validity_days: ValidityDays
    path_length: PathLength = 0
    name_constraints: NameConstraints | None = None


class ImportCertificate(CertificateMessage, Command):
    """Import a certificate that was issued elsewhere; with *key_id*, a CA that continues to issue here."""

    certificate_id: Id = DERIVED
    certificate_pem: Pem
    profile: AnyProfile
    issuer_id: Id | None = Field(default=None, description="its issuer's certificate; none: the root of another PKI")
    key_id: Id | None = None


class SignCertificate(CertificateMessage, Command):
    """Attach the signature to the TBSCertificate."""

    certificate_id: Id
    signature: Signature


class HoldCertificate(CertificateMessage, Command):
    """Suspend the certificate (reason certificateHold)."""

    certificate_id: Id


class ReleaseCertificate(CertificateMessage, Command):
    """End a suspension (removeFromCRL)."""

    certificate_id: Id


class SupersedeCertificate(CertificateMessage, Command):
    """Mark the certificate as replaced: no renewal and no expiry announcement. It stays valid until it is revoked."""

    certificate_id: Id
    successor_id: Id


class RevokeCertificate(CertificateMessage, Command):
    """Revoke the certificate permanently."""

    certificate_id: Id
    reason: Reason = RevocationReason.UNSPECIFIED
    invalidity_date: AwareDatetime | None = Field(default=None, description="invalidityDate (RFC 5280, 5.3.2)")
    void_if_absent: bool = Field(
        default=False, description="if no such certificate exists, void the id so that none can be created"
    )


class AnnounceExpiry(CertificateMessage, Command):
    """Announce that the certificate expires soon, at the time that the issuer's policy sets."""

    certificate_id: Id


class ExpireCertificate(CertificateMessage, Command):
    """Record that the certificate has expired."""

    certificate_id: Id


class ExportCertificate(CertificateMessage, Command):
    """Publish the certificate in another format."""

    certificate_id: Id
    format: CertificateFormat = CertificateFormat.PEM
    chain: bool = Field(default=False, description="include the certificates up to the root")


class VerifyCertificate(CertificateMessage, Command):
    """Validate a certificate at one instant (RFC 5280, 6), by the revocation state in the log at that instant."""

    certificate_id: Id = Field(default=DERIVED, description="of a certificate of this suite; or give certificate_pem")
    certificate_pem: Pem | None = None
    intermediates_pem: _Chain = ()
    anchors: Annotated[tuple[Id, ...], Field(max_length=16)] = Field(
        default=(), description="certificate ids of the trust anchors; default: all roots here"
    )
    at: AwareDatetime | None = Field(default=None, description="default: now")
    usage: VerifiedUsage = VerifiedUsage.ANY
    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[!-~]+$")] | None = Field(
        default=None, description="a host name, IP address or mailbox that the certificate must name"
    )


class CreateCrl(CertificateMessage, Command):
    """Build the issuer's next CRL for its key to sign; `command.repeated` if the last one is complete and current."""

    certificate_id: Id = Field(description="the issuer's")


class PublishCrl(CertificateMessage, Command):
    """Attach the signature to the TBSCertList."""

    certificate_id: Id = Field(description="the issuer's")
    signature: Signature
    number: int | None = Field(
        default=None, ge=1, description="of the signed CRL; default: the last one. An older one is ignored"
    )


CertificateCommand = (
    CheckIssuance
    | CreateCertificate
    | RenewCertificate
    | CrossCertify
    | ImportCertificate
    | SignCertificate
    | HoldCertificate
    | ReleaseCertificate
    | SupersedeCertificate
    | RevokeCertificate
    | AnnounceExpiry
    | ExpireCertificate
    | ExportCertificate
    | VerifyCertificate
    | CreateCrl
    | PublishCrl
)
