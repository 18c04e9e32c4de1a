"""Effects of the certificate decider and their outcomes, with the data that they carry."""

from dataclasses import dataclass, field
from datetime import datetime

from services.certificate.crl.effects import CrlEffect, CrlOutcome
from services.certificate.names.syntax import AlternativeNames
from services.certificate.policy.issuers import IssuerUrls
from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.x509.states import Certificate, Created
from shared.contracts.certificate.commands import (
    CheckIssuance,
    CreateCertificate,
    CrossCertify,
    ExportCertificate,
    ImportCertificate,
    RenewCertificate,
    SignCertificate,
    SupersedeCertificate,
)
from shared.contracts.certificate.events import CertificateEvent
from shared.contracts.certificate.value_types import NameConstraints, Profile
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.decider import AlreadyDone, Perform, Rejection

IssuanceCommand = CheckIssuance | CreateCertificate | RenewCertificate | CrossCertify


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTemplate:
    """The requested content of a certificate; every issuance command leads to one.

    *names* is None if a check gives no subject. *path_length* is None for a CA without a limit and for an end entity.
    *source_pem* is the certificate to copy the subject from: the predecessor, or the CA to be cross-certified.
    """

    request: IssuanceCommand
    profile: Profile
    issuer_id: str | None
    validity_days: int
    common_name: str | None
    names: AlternativeNames | None
    signing_key_id: str | None = None
    key_id: str | None = None
    path_length: int | None = None
    name_constraints: NameConstraints | None = None
    source_pem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIssuer:
    """One CA certificate of a certification path, with its constraints (RFC 5280, 4.2.1.9 and 4.2.1.10).

    *unsupported* lists the kinds of names that it constrains and this service cannot check. *problem* is its status if
    that forbids issuance, such as "is revoked".
    """

    certificate_id: str
    path_length: int | None
    name_constraints: NameConstraints | None = None
    unsupported: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectContent:
    """Names and CA limits in an existing certificate."""

    common_name: str | None
    names: AlternativeNames
    path_length: int | None
    name_constraints: NameConstraints | None


@dataclass(frozen=True, slots=True)
class FetchIssuer:
    template: CertificateTemplate
    issuer_id: str


@dataclass(frozen=True, slots=True)
class IssuerFetched:
    """The issuer, and the *path* from it to its root, which is empty if the issuer has no certificate."""

    template: CertificateTemplate
    issuer: Certificate
    path: tuple[PathIssuer, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchPredecessor:
    request: RenewCertificate


@dataclass(frozen=True, slots=True)
class PredecessorFetched:
    """The predecessor; *content* is None if it has no certificate, or one with names of an unsupported kind."""

    request: RenewCertificate
    predecessor: Certificate
    content: SubjectContent | None


@dataclass(frozen=True, slots=True)
class ReadCaCertificate:
    """Parse the CA certificate that is to be cross-certified."""

    request: CrossCertify


@dataclass(frozen=True, slots=True)
class CaCertificateRead:
    request: CrossCertify
    content: SubjectContent


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    """Parse and check the certificate that is to be imported."""

    request: ImportCertificate
    ml_dsa: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRead:
    """A certificate that fits its profile; its signature is verified if *issuer* has a certificate.

    *existing_id* is the id under which the issuer's certificate with this serial number is stored already.
    """

    request: ImportCertificate
    issuer: Certificate | None
    certificate_pem: str
    serial: str
    fingerprint_sha256: str
    content: SubjectContent
    not_before: datetime
    not_after: datetime
    existing_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTbs:
    """Build and lint a TBSCertificate. *issuer_certificate_pem* is None for a self-signed root."""

    template: CertificateTemplate
    issuer_certificate_pem: str | None
    signing_key_id: str
    key_id: str | None
    not_before: datetime
    not_after: datetime
    urls: IssuerUrls = field(default_factory=IssuerUrls)
    ml_dsa: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TbsBuilt:
    effect: BuildTbs
    tbs: bytes
    serial: str
    signature_algorithm: SignatureAlgorithm
    issuer_public_key_pem: str


@dataclass(frozen=True, slots=True)
class RequestInvalid:
    reason: str


@dataclass(frozen=True, slots=True)
class FetchRelated:
    """Load the issuer of the certificate to sign, or the successor of the certificate to supersede."""

    request: SignCertificate | SupersedeCertificate
    certificate_id: str


@dataclass(frozen=True, slots=True)
class RelatedFetched:
    request: SignCertificate | SupersedeCertificate
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class AttachSignature:
    certificate_id: str
    created: Created
    signature: bytes


@dataclass(frozen=True, slots=True)
class CertificateAssembled:
    effect: AttachSignature
    certificate_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class SignatureInvalid:
    certificate_id: str


@dataclass(frozen=True, slots=True)
class RenderExport:
    """Encode a certificate; its chain starts with the certificate of *issuer_id*."""

    request: ExportCertificate
    certificate_pem: str
    issuer_id: str | None


@dataclass(frozen=True, slots=True)
class ExportRendered:
    request: ExportCertificate
    content: str


CertificateEffect = (
    FetchIssuer
    | FetchPredecessor
    | ReadCaCertificate
    | ReadCertificate
    | BuildTbs
    | FetchRelated
    | AttachSignature
    | RenderExport
)
CertificateOutcome = (
    IssuerFetched
    | PredecessorFetched
    | CaCertificateRead
    | CertificateRead
    | TbsBuilt
    | RequestInvalid
    | RelatedFetched
    | CertificateAssembled
    | SignatureInvalid
    | ExportRendered
)
Effect = CertificateEffect | CrlEffect | CheckPath
Outcome = CertificateOutcome | CrlOutcome | PathChecked | PathNotChecked
CertificateDecision = CertificateEvent | Rejection | AlreadyDone | Perform[Effect]
"""The result of every decision about a certificate."""
