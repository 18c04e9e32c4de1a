"""What a batch of status answers can be, and what making one asks of the world."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.certificate.policy.issuers import OcspPolicy
from services.certificate.x509.states import Certificate
from shared.contracts.certificate.ocsp import PrepareOcsp, SignedOcspAnswer
from shared.contracts.certificate.vocabulary import RevocationReason
from shared.contracts.key.vocabulary import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Unsigned:
    """One ResponseData, base64."""

    serial: str
    issuer_key_hash: str
    tbs: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """*through* is how far the log was heard when the answers were made."""

    issuer_id: str
    responder_id: str
    signature_algorithm: SignatureAlgorithm
    answers: tuple[Unsigned, ...]
    this_update: datetime
    next_update: datetime
    everyone: bool
    more_after: int | None
    through: int
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True, slots=True)
class Published:
    kind: Literal["published"] = "published"


OcspBatch = Unborn | Prepared | Published


@dataclass(frozen=True, slots=True)
class FetchResponder:
    request: PrepareOcsp
    at: datetime


@dataclass(frozen=True, slots=True)
class ResponderFetched:
    """*responder_id* None: none was named, and none is known of this issuer."""

    request: PrepareOcsp
    issuer: Certificate
    responder_id: str | None
    responder: Certificate
    policy: OcspPolicy


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers for whom, from when to when."""

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
    """*most* is how many certificates a batch has room for."""

    plan: Plan
    most: int


@dataclass(frozen=True, slots=True)
class Status:
    """Good where *revoked_at* is None; revoked without a *reason* is held."""

    certificate_id: str
    serial: str
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None


@dataclass(frozen=True, slots=True)
class StatusesFetched:
    """*unknown* are those asked for by id that are no certificates of this issuer."""

    plan: Plan
    statuses: tuple[Status, ...]
    unknown: tuple[str, ...]
    more_after: int | None
    through: int


@dataclass(frozen=True, slots=True)
class BuildAnswers:
    fetched: StatusesFetched
    this_update: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    certificate_id: str
    serial: str
    issuer_key_hash: str
    tbs: bytes


@dataclass(frozen=True, slots=True)
class AnswersBuilt:
    plan: BuildAnswers
    answers: tuple[Answer, ...]
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class AttachSignatures:
    batch_id: str
    batch: Prepared
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AnswersAssembled:
    plan: AttachSignatures
    answers: tuple[SignedOcspAnswer, ...]


@dataclass(frozen=True, slots=True)
class AnswersUnfit:
    code: RejectionCode
    reason: str


OcspEffect = FetchResponder | FetchStatuses | BuildAnswers | AttachSignatures
OcspOutcome = ResponderFetched | StatusesFetched | AnswersBuilt | AnswersAssembled | AnswersUnfit
