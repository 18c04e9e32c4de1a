"""Effects of the OCSP decider and their outcomes."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.ocsp.states import Prepared
from services.certificate.policy.issuers import OcspPolicy
from services.certificate.x509.states import Certificate
from shared.contracts.certificate.ocsp import PrepareOcsp, SignedOcspAnswer
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode


@dataclass(frozen=True, slots=True)
class FetchResponder:
    """Load the issuer and the responder that the request names; by default the newest responder that can sign."""

    request: PrepareOcsp
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderFetched:
    """The responder; *responder_id* is None if the request names no responder and the issuer has none."""

    request: PrepareOcsp
    issuer: Certificate
    responder_id: str | None
    responder: Certificate
    policy: OcspPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Issuer, responder and validity of a batch."""

    request: PrepareOcsp
    issuer_certificate_pem: str
    responder_id: str
    responder_serial: str
    responder_certificate_pem: str
    signing_key_id: str
    at: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class FetchStatuses:
    """Look up the status of at most *max_certificates* certificates."""

    plan: BatchPlan
    max_certificates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateStatus:
    """The status of a certificate: good without *revoked_at*; on hold with *revoked_at* and without *reason*."""

    certificate_id: str
    serial: str
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusesFetched:
    """The statuses for a batch. *unknown* holds the requested ids that are not certificates of this issuer.

    *through* is the last log sequence that was read.
    """

    plan: BatchPlan
    statuses: tuple[CertificateStatus, ...]
    unknown: tuple[str, ...]
    more_after: int | None
    through: int


@dataclass(frozen=True, slots=True)
class BuildResponses:
    fetched: StatusesFetched
    this_update: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltResponse:
    """One ResponseData in DER; its CertID names the issuer by *issuer_key_hash*."""

    certificate_id: str
    serial: str
    issuer_key_hash: str
    tbs: bytes


@dataclass(frozen=True, slots=True)
class ResponsesBuilt:
    effect: BuildResponses
    responses: tuple[BuiltResponse, ...]
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class AttachSignatures:
    batch_id: str
    batch: Prepared
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ResponsesAssembled:
    effect: AttachSignatures
    responses: tuple[SignedOcspAnswer, ...]


@dataclass(frozen=True, slots=True)
class BatchInvalid:
    """The responder may not sign, or a signature does not verify."""

    code: RejectionCode
    reason: str


OcspEffect = FetchResponder | FetchStatuses | BuildResponses | AttachSignatures
OcspOutcome = ResponderFetched | StatusesFetched | ResponsesBuilt | ResponsesAssembled | BatchInvalid
