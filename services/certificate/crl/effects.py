"""Effects of the CRL decider and their outcomes, with the facts about the issuer that they need."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.crl.states import PendingCrl
from services.certificate.profiles import CrlProfile
from services.certificate.revocation.register import RevocationEntry
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlIssuer:
    """An issued certificate as issuer of CRLs. *key_id* is None if the key service does not have its key."""

    certificate_id: str
    certificate_pem: str
    profile: Profile
    key_id: str | None
    not_after: datetime


@dataclass(frozen=True, slots=True)
class GatherRevocations:
    """Read the log to its end and collect the revocations of this issuer."""

    issuer: CrlIssuer
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationsGathered:
    """The revocations of an issuer.

    *through* is the last log sequence that was read, *last_change* that of the last event about this issuer.
    """

    effect: GatherRevocations
    through: int
    last_change: int
    revocations: tuple[RevocationEntry, ...]
    policy: CrlProfile


@dataclass(frozen=True, slots=True, kw_only=True)
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
    effect: BuildCrl
    tbs: bytes
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachCrlSignature:
    issuer_id: str
    issuer_certificate_pem: str
    crl: PendingCrl
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlAssembled:
    effect: AttachCrlSignature
    crl_pem: str
    fingerprint_sha256: str
    policy: CrlProfile


@dataclass(frozen=True, slots=True)
class CrlSignatureInvalid:
    effect: AttachCrlSignature


CrlEffect = GatherRevocations | BuildCrl | AttachCrlSignature
CrlOutcome = RevocationsGathered | CrlBuilt | CrlAssembled | CrlSignatureInvalid
