"""What making a CRL asks of the world, each followed by what can be heard back."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.crl.states import PendingCrl
from services.certificate.profiles import CrlProfile
from services.certificate.revocation.register import RevocationEntry
from services.certificate.x509.states import Issued
from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class GatherRevocations:
    issuer_id: str
    issuer: Issued
    key_id: str


@dataclass(frozen=True, slots=True)
class RevocationsGathered:
    """*through* is how far the log was heard; *changed*, the last event there that is about this authority."""

    asked: GatherRevocations
    through: int
    changed: int
    revocations: tuple[RevocationEntry, ...]
    policy: CrlProfile


@dataclass(frozen=True, slots=True)
class BuildCrl:
    issuer_id: str
    issuer_certificate_pem: str
    signing_key_id: str
    number: int
    this_update: datetime
    next_update: datetime
    through: int
    revocations: tuple[RevocationEntry, ...]


@dataclass(frozen=True, slots=True)
class CrlBuilt:
    plan: BuildCrl
    tbs: bytes
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class AttachCrlSignature:
    issuer_id: str
    issuer_certificate_pem: str
    crl: PendingCrl
    signature: bytes


@dataclass(frozen=True, slots=True)
class CrlAssembled:
    plan: AttachCrlSignature
    crl_pem: str
    fingerprint_sha256: str
    policy: CrlProfile


@dataclass(frozen=True, slots=True)
class CrlSignatureWrong:
    plan: AttachCrlSignature


CrlEffect = GatherRevocations | BuildCrl | AttachCrlSignature
CrlOutcome = RevocationsGathered | CrlBuilt | CrlAssembled | CrlSignatureWrong
