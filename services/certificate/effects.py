"""What the core may ask of the world, each followed by what it can hear back."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.crl_effects import CrlEffect, CrlOutcome
from services.certificate.states import Certificate, Created
from shared.contracts.certificate import CheckIssuance, CreateCertificate
from shared.contracts.keying import SignatureAlgorithm

Request = CreateCertificate | CheckIssuance


@dataclass(frozen=True, slots=True)
class FetchIssuer:
    request: Request
    issuer_id: str


@dataclass(frozen=True, slots=True)
class IssuerFetched:
    request: Request
    issuer: Certificate


@dataclass(frozen=True, slots=True)
class BuildTbs:
    """*issuer_certificate_pem* is None for what its own key signs."""

    request: CreateCertificate
    issuer_certificate_pem: str | None
    signing_key_id: str
    key_id: str | None
    not_before: datetime
    not_after: datetime


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


IssuanceEffect = FetchIssuer | BuildTbs | AttachSignature
IssuanceOutcome = IssuerFetched | TbsBuilt | RequestUnfit | Assembled | SignatureWrong
Effect = IssuanceEffect | CrlEffect
Outcome = IssuanceOutcome | CrlOutcome
