"""What the certificate service can be asked for, and what it reports. It holds no private key."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from shared.contracts.base import (
    DERIVED,
    Base64,
    Command,
    Event,
    Fingerprint,
    Id,
    Message,
    Name,
    Pem,
    ValidityDays,
)
from shared.contracts.key import Algorithm, SignatureAlgorithm


class Profile(StrEnum):
    ROOT = "root"
    INTERMEDIATE = "intermediate"
    PIV_AUTHENTICATION = "piv-authentication"
    PIV_DIGITAL_SIGNATURE = "piv-digital-signature"
    PIV_KEY_MANAGEMENT = "piv-key-management"
    PIV_CARD_AUTHENTICATION = "piv-card-authentication"


class RevocationReason(StrEnum):
    """RFC 5280, section 5.3.1, in its own spelling; kebab-case and snake_case are read as well."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


_REASONS = {reason.value.lower(): reason for reason in RevocationReason}


def _any_spelling_of_a_reason(value: object) -> object:
    return _REASONS.get(re.sub("[-_]", "", value).lower(), value) if isinstance(value, str) else value


def _bare_piv_purpose(value: object) -> object:
    piv = f"piv-{value}"
    return piv if piv in set(Profile) else value


AnyProfile = Annotated[Profile, BeforeValidator(_bare_piv_purpose)]
Reason = Annotated[RevocationReason, BeforeValidator(_any_spelling_of_a_reason)]
Serial = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,40}$"), Field(description="hexadecimal")]
Email = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$", max_length=254)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class DistinguishedName(_Value):
    """The subject. An e-mail address goes into the SAN, not into the name (RFC 5280, 4.1.2.6)."""

    common_name: Name
    organization: Name | None = None
    organizational_unit: Name | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    email: Email | None = None


class SanKind(StrEnum):
    EMAIL = "email"
    DNS = "dns"
    URI = "uri"
    IP = "ip"


class SubjectAlternativeName(_Value):
    kind: SanKind
    value: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[!-~]+$")]


class OfCertificate(Message):
    aggregate_type: ClassVar[str] = "certificate"
    identified_by: ClassVar[str] = "certificate_id"


class CheckIssuance(OfCertificate, Command):
    """Ask whether a certificate like this would be issued now: nothing is created."""

    certificate_id: Id = DERIVED
    profile: AnyProfile
    issuer_id: Id
    signing_key_id: Id | None = Field(default=None, description="default: the key the issuer's certificate is about")
    algorithm: Algorithm = Field(description="of the key to be certified")
    validity_days: ValidityDays


class CreateCertificate(OfCertificate, Command):
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

    @model_validator(mode="after")
    def _one_source_of_the_public_key(self) -> Self:
        if (self.public_key_pem is None) == (self.csr_pem is None):
            raise ValueError("exactly one of public_key_pem and csr_pem must be given")
        return self


class SignCertificate(OfCertificate, Command):
    certificate_id: Id
    signature: Base64 = Field(min_length=1, max_length=1024)


class RevokeCertificate(OfCertificate, Command):
    certificate_id: Id
    reason: Reason = RevocationReason.UNSPECIFIED
    void_if_absent: bool = Field(
        default=False, description="where there is no such certificate, make sure that there never will be"
    )


class IssuanceChecked(OfCertificate, Event):
    """It would be issued, as things stood then."""

    certificate_id: Id
    profile: Profile
    issuer_id: Id
    algorithm: Algorithm
    validity_days: ValidityDays


class CertificateCreated(OfCertificate, Event):
    certificate_id: Id
    profile: Profile
    tbs: Base64 = Field(description="DER of the TBSCertificate (RFC 5280, 4.1.1.1): the bytes to sign")
    tbs_sha256: Fingerprint
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    serial: Serial
    issuer_id: Id | None
    issuer_public_key_pem: Pem = Field(description="what the signature must verify with")
    key_id: Id | None
    not_before: datetime
    not_after: datetime


class CertificateSigned(OfCertificate, Event):
    certificate_id: Id
    profile: Profile
    certificate_pem: Pem
    serial: Serial
    fingerprint_sha256: Fingerprint = Field(description="of the certificate's DER")
    issuer_id: Id | None
    not_before: datetime
    not_after: datetime


class CertificateRevoked(OfCertificate, Event):
    certificate_id: Id
    reason: RevocationReason
    serial: Serial | None = None
    existed: bool = Field(default=True, description="false: the id was voided before any certificate had it")


CertificateCommand = CheckIssuance | CreateCertificate | SignCertificate | RevokeCertificate
CertificateEvent = IssuanceChecked | CertificateCreated | CertificateSigned | CertificateRevoked
