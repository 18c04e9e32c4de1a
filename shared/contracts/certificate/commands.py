"""What the certificate service can be asked for about certificates and the CRLs of their issuers."""

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
    """Ask whether a certificate like this would be issued now: nothing is created."""

    certificate_id: Id = DERIVED
    profile: AnyProfile
    issuer_id: Id
    signing_key_id: Id | None = Field(default=None, description="default: the key the issuer's certificate is about")
    algorithm: Algorithm = Field(description="of the key to be certified")
    validity_days: ValidityDays
    subject: DistinguishedName | None = Field(default=None, description="judged too where it is given")
    sans: Annotated[tuple[SubjectAlternativeName, ...], Field(max_length=32)] = ()


class CreateCertificate(CertificateMessage, Command):
    """Build what is to be signed. Who signs it is the caller's choice; `certificate.sign` attaches the signature."""

    certificate_id: Id = DERIVED
    profile: AnyProfile
    subject: DistinguishedName
    sans: Annotated[tuple[SubjectAlternativeName, ...], Field(max_length=32)] = ()
    public_key_pem: Pem | None = None
    csr_pem: Pem | None = None
    issuer_id: Id | None = Field(default=None, description="the issuer's certificate; none: a self-signed root")
    signing_key_id: Id | None = Field(default=None, description="default: the key the issuer's certificate is about")
    key_id: Id | None = Field(default=None, description="the key this certificate is about, where it has an id")
    validity_days: ValidityDays
    path_length: PathLength | None = Field(default=None, description="of an authority; default: its profile's")
    name_constraints: NameConstraints | None = Field(default=None, description="of an authority")

    @model_validator(mode="after")
    def _one_source_of_the_public_key(self) -> Self:
        if (self.public_key_pem is None) == (self.csr_pem is None):
            raise ValueError("exactly one of public_key_pem and csr_pem must be given")
        return self


class RenewCertificate(CertificateMessage, Command):
    """Build another certificate like *predecessor_id*: same issuer, profile and names; the same key or a new one."""

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
    """Build a certificate of *issuer_id* for another authority: its name, its key, its key identifier, as they are."""

    certificate_id: Id = DERIVED
    subject_certificate_pem: Pem
    issuer_id: Id
    validity_days: ValidityDays
    path_length: PathLength = 0
    name_constraints: NameConstraints | None = None


class ImportCertificate(CertificateMessage, Command):
    """Take over a certificate that was issued elsewhere; with *key_id*, an authority that goes on issuing here."""

    certificate_id: Id = DERIVED
    certificate_pem: Pem
    profile: AnyProfile
    issuer_id: Id | None = Field(default=None, description="its issuer's certificate; none: the root of another PKI")
    key_id: Id | None = None


class SignCertificate(CertificateMessage, Command):
    certificate_id: Id
    signature: Signature


class HoldCertificate(CertificateMessage, Command):
    """Revoke it for a while (certificateHold)."""

    certificate_id: Id


class ReleaseCertificate(CertificateMessage, Command):
    """Take a hold back (removeFromCRL)."""

    certificate_id: Id


class SupersedeCertificate(CertificateMessage, Command):
    """Another one is in its place: it is not renewed, and its end is not announced. It stays valid until revoked."""

    certificate_id: Id
    successor_id: Id


class RevokeCertificate(CertificateMessage, Command):
    certificate_id: Id
    reason: Reason = RevocationReason.UNSPECIFIED
    invalidity_date: AwareDatetime | None = Field(default=None, description="since when it must not be trusted")
    void_if_absent: bool = Field(
        default=False, description="where there is no such certificate, make sure that there never will be"
    )


class AnnounceExpiry(CertificateMessage, Command):
    """The time that its issuer's policy sets before its end has come."""

    certificate_id: Id


class ExpireCertificate(CertificateMessage, Command):
    """Its end has come."""

    certificate_id: Id


class ExportCertificate(CertificateMessage, Command):
    certificate_id: Id
    format: CertificateFormat = CertificateFormat.PEM
    chain: bool = Field(default=False, description="with those that lead to its root")


class VerifyCertificate(CertificateMessage, Command):
    """Ask whether a certificate was, is or will be good at an instant, by what the log says of that instant."""

    certificate_id: Id = Field(default=DERIVED, description="one of ours; or give certificate_pem")
    certificate_pem: Pem | None = None
    intermediates_pem: _Chain = ()
    anchors: Annotated[tuple[Id, ...], Field(max_length=16)] = Field(
        default=(), description="the roots that are trusted, by certificate_id; default: all of ours"
    )
    at: AwareDatetime | None = Field(default=None, description="default: now")
    usage: VerifiedUsage = VerifiedUsage.ANY
    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[!-~]+$")] | None = Field(
        default=None, description="a host name, IP address or mailbox that it must be good for"
    )


class CreateCrl(CertificateMessage, Command):
    """Build the issuer's next CRL, to be signed by its key; repeated where the last one says all there is to say."""

    certificate_id: Id = Field(description="the issuer's")


class PublishCrl(CertificateMessage, Command):
    """Attach the signature to the CRL that was built last."""

    certificate_id: Id = Field(description="the issuer's")
    signature: Signature
    number: int | None = Field(
        default=None, ge=1, description="of the CRL that was signed; default: the last. One before the last is let be"
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
