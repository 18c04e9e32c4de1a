"""What the core may ask of the world, each followed by what it can hear back."""

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
from shared.contracts.certificate.value_types import NameConstraints, Profile
from shared.contracts.key.value_types import SignatureAlgorithm

Request = CheckIssuance | CreateCertificate | RenewCertificate | CrossCertify


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate that is asked for, by whichever *request*.

    *names* is None where nobody is named. *path_length* is that of an authority; None: no limit, or no authority.
    *like_pem* is the certificate whose names are taken as they stand: its predecessor, or what is cross-certified.
    """

    request: Request
    profile: Profile
    issuer_id: str | None
    signing_key_id: str | None
    key_id: str | None
    validity_days: int
    common_name: str | None
    names: AlternativeNames | None
    path_length: int | None = None
    name_constraints: NameConstraints | None = None
    like_pem: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """What the certificate of an authority says of what it may issue, and where it stands.

    *unjudged* are the kinds of names that it constrains and that nobody here can judge; *fault*: why it is not good.
    """

    certificate_id: str
    path_length: int | None
    constraints: NameConstraints | None = None
    unjudged: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class FetchIssuer:
    wanted: Wanted
    issuer_id: str


@dataclass(frozen=True, slots=True)
class IssuerFetched:
    """*path* begins with the issuer and ends with its root; it is empty where the issuer is not issued."""

    wanted: Wanted
    issuer: Certificate
    path: tuple[Authority, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What a certificate says of whom it is about."""

    common_name: str | None
    names: AlternativeNames
    path_length: int | None
    name_constraints: NameConstraints | None


@dataclass(frozen=True, slots=True)
class FetchPredecessor:
    request: RenewCertificate


@dataclass(frozen=True, slots=True)
class PredecessorFetched:
    """*said* is what its certificate says, where it has one."""

    request: RenewCertificate
    predecessor: Certificate
    said: Said | None


@dataclass(frozen=True, slots=True)
class ReadAuthority:
    request: CrossCertify


@dataclass(frozen=True, slots=True)
class AuthorityRead:
    request: CrossCertify
    said: Said


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    request: ImportCertificate
    ml_dsa: bool


@dataclass(frozen=True, slots=True)
class CertificateRead:
    """It fits its profile, and its signature verifies with the issuer's key, where *issuer* has a certificate.

    *known_as*: the id under which this very certificate is here already.
    """

    request: ImportCertificate
    issuer: Certificate | None
    certificate_pem: str
    serial: str
    fingerprint_sha256: str
    said: Said
    not_before: datetime
    not_after: datetime
    known_as: str | None = None


@dataclass(frozen=True, slots=True)
class BuildTbs:
    """*issuer_certificate_pem* is None for what its own key signs."""

    wanted: Wanted
    issuer_certificate_pem: str | None
    signing_key_id: str
    key_id: str | None
    not_before: datetime
    not_after: datetime
    pointers: IssuerUrls = field(default_factory=IssuerUrls)
    ml_dsa: bool = False


@dataclass(frozen=True, slots=True)
class TbsBuilt:
    plan: BuildTbs
    tbs: bytes
    serial: str
    signature_algorithm: SignatureAlgorithm
    issuer_public_key_pem: str


@dataclass(frozen=True, slots=True)
class RequestUnfit:
    reason: str


@dataclass(frozen=True, slots=True)
class FetchOther:
    """The issuer of what is to be signed, or the successor of what is to be superseded."""

    request: SignCertificate | SupersedeCertificate
    certificate_id: str


@dataclass(frozen=True, slots=True)
class OtherFetched:
    request: SignCertificate | SupersedeCertificate
    other: Certificate


@dataclass(frozen=True, slots=True)
class AttachSignature:
    certificate_id: str
    created: Created
    signature: bytes


@dataclass(frozen=True, slots=True)
class Assembled:
    plan: AttachSignature
    certificate_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class SignatureWrong:
    certificate_id: str


@dataclass(frozen=True, slots=True)
class Render:
    """*issuer_id*: of the certificate, from where its chain goes on."""

    request: ExportCertificate
    certificate_pem: str
    issuer_id: str | None


@dataclass(frozen=True, slots=True)
class Rendered:
    request: ExportCertificate
    content: str


IssuanceEffect = (
    FetchIssuer | FetchPredecessor | ReadAuthority | ReadCertificate | BuildTbs | FetchOther | AttachSignature | Render
)
IssuanceOutcome = (
    IssuerFetched
    | PredecessorFetched
    | AuthorityRead
    | CertificateRead
    | TbsBuilt
    | RequestUnfit
    | OtherFetched
    | Assembled
    | SignatureWrong
    | Rendered
)
Effect = IssuanceEffect | CrlEffect | CheckPath
Outcome = IssuanceOutcome | CrlOutcome | PathChecked | PathNotChecked
