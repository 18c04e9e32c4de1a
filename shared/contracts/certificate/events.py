"""Events about X.509 certificates and the CRLs of their issuers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from shared.contracts.base import Base64, Event, Fingerprint, Id, Pem, ValidityDays
from shared.contracts.certificate.commands import CertificateMessage
from shared.contracts.certificate.value_types import (
    CertificateFormat,
    Profile,
    RevocationReason,
    Serial,
    VerifiedUsage,
)
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm

LargePem = Annotated[str, StringConstraints(pattern=r"^-----BEGIN ", max_length=800_000)]


class IssuanceChecked(CertificateMessage, Event):
    """The issuer would have issued such a certificate at that time."""

    certificate_id: Id
    profile: Profile
    issuer_id: Id
    algorithm: Algorithm
    validity_days: ValidityDays


class CertificateCreated(CertificateMessage, Event):
    """The TBSCertificate is built: the log has the whole content before any key signs it."""

    certificate_id: Id
    profile: Profile
    tbs: Base64 = Field(description="DER of the TBSCertificate (RFC 5280, 4.1.1.1): the bytes to sign")
    tbs_sha256: Fingerprint
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    serial: Serial
    issuer_id: Id | None
    issuer_public_key_pem: Pem = Field(description="verifies the signature")
    key_id: Id | None
    not_before: datetime
    not_after: datetime
    profile_version: int = 1


class CertificateRenewed(CertificateCreated):
    """The TBSCertificate of a successor is built."""

    predecessor_id: Id


class CertificateSigned(CertificateMessage, Event):
    certificate_id: Id
    profile: Profile
    certificate_pem: Pem
    serial: Serial
    fingerprint_sha256: Fingerprint = Field(description="of the certificate's DER")
    issuer_id: Id | None
    not_before: datetime
    not_after: datetime
    key_id: Id | None = None
    expiring_at: AwareDatetime | None = Field(default=None, description="time of the expiry announcement, by policy")
    renewal: bool = Field(default=False, description="true: policy starts a renewal at that time")
    ocsp: bool = Field(default=False, description="true: OCSP responses exist for it")


class CertificateImported(CertificateMessage, Event):
    certificate_id: Id
    profile: Profile
    certificate_pem: Pem
    serial: Serial
    fingerprint_sha256: Fingerprint
    issuer_id: Id | None
    key_id: Id | None
    not_before: datetime
    not_after: datetime
    expiring_at: AwareDatetime | None = None
    ocsp: bool = Field(default=False, description="true: OCSP responses exist for it")


class CertificateHeld(CertificateMessage, Event):
    certificate_id: Id
    issuer_id: Id | None
    serial: Serial
    not_after: datetime
    ocsp: bool = False


class CertificateReleased(CertificateMessage, Event):
    certificate_id: Id
    issuer_id: Id | None
    serial: Serial
    ocsp: bool = False


class CertificateSuperseded(CertificateMessage, Event):
    certificate_id: Id
    successor_id: Id


class CertificateRevoked(CertificateMessage, Event):
    certificate_id: Id
    reason: RevocationReason
    serial: Serial | None = None
    existed: bool = Field(default=True, description="false: the id was voided before a certificate used it")
    issuer_id: Id | None = None
    not_after: datetime | None = None
    invalidity_date: AwareDatetime | None = None
    signed: bool = Field(default=True, description="false: it was never signed, so no CRL lists it")
    ocsp: bool = False


class CertificateExpiring(CertificateMessage, Event):
    certificate_id: Id
    profile: Profile
    not_after: datetime
    renewal: bool


class CertificateExpired(CertificateMessage, Event):
    certificate_id: Id
    not_after: datetime


class CertificateExported(CertificateMessage, Event):
    certificate_id: Id
    format: CertificateFormat
    content: str = Field(description="PEM as text; binary formats in base64")


class CertificateVerified(CertificateMessage, Event):
    """The result of a validation: *valid*, or the *reason* against it."""

    certificate_id: Id
    valid: bool
    at: AwareDatetime
    usage: VerifiedUsage
    reason: str | None = None
    path: tuple[Fingerprint, ...] = Field(default=(), description="of the certificates' DER, from the leaf to the root")


class CrlCreated(CertificateMessage, Event):
    """The TBSCertList is built: the log has the whole content before any key signs it."""

    certificate_id: Id = Field(description="the issuer's")
    number: int = Field(ge=1)
    tbs: Base64 = Field(description="DER of the TBSCertList (RFC 5280, 5.1.1.1): the bytes to sign")
    tbs_sha256: Fingerprint
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    this_update: datetime
    next_update: datetime
    entries: int = Field(ge=0)
    through: int = Field(ge=0, description="sequence of the last event of the log that it takes into account")


class CrlPublished(CertificateMessage, Event):
    certificate_id: Id = Field(description="the issuer's")
    number: int
    crl_pem: LargePem
    fingerprint_sha256: Fingerprint = Field(description="of the CRL's DER")
    this_update: datetime
    next_update: datetime
    entries: int
    next_at: AwareDatetime = Field(description="time of the next CRL, by policy, if no revocation comes before")


CertificateEvent = (
    IssuanceChecked
    | CertificateCreated
    | CertificateRenewed
    | CertificateSigned
    | CertificateImported
    | CertificateHeld
    | CertificateReleased
    | CertificateSuperseded
    | CertificateRevoked
    | CertificateExpiring
    | CertificateExpired
    | CertificateExported
    | CertificateVerified
    | CrlCreated
    | CrlPublished
)
