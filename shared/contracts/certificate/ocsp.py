"""Commands and events of OCSP responses (RFC 6960), which are signed in batches in advance.

The repository serves them without a key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.base import DERIVED, Base64, Command, Event, Id, Message
from shared.contracts.certificate.value_types import Serial
from shared.contracts.key.value_types import SignatureAlgorithm, Value


class OcspMessage(Message):
    aggregate_type: ClassVar[str] = "ocsp"
    identified_by: ClassVar[str] = "batch_id"
    service: ClassVar[str] = "certificate"


class PrepareOcsp(OcspMessage, Command):
    """Build ResponseData for certificates of one issuer: the named ones, or the next batch of all."""

    batch_id: Id = DERIVED
    issuer_id: Id
    responder_id: Id | None = Field(default=None, description="the responder's certificate; default: the newest")
    certificate_ids: Annotated[tuple[Id, ...], Field(max_length=64)] = Field(default=(), description="none: all")
    after: int = Field(default=0, ge=0, description="position at which the previous batch of all ended")


class PublishOcsp(OcspMessage, Command):
    """Attach the signatures to the batch."""

    max_body_bytes: ClassVar[int] = 786_432  # 128 signatures of ML-DSA-65, in base64

    batch_id: Id
    signatures: Annotated[tuple[Base64, ...], Field(min_length=1, max_length=256)]


class OcspAnswer(Value):
    """One ResponseData and its key in requests; each certificate has one for SHA-1 and one for SHA-256."""

    certificate_id: Id
    serial: Serial
    tbs: Base64
    issuer_key_hash: str = Field(pattern=r"^[0-9a-f]{40,64}$")


class OcspPrepared(OcspMessage, Event):
    batch_id: Id
    issuer_id: Id
    responder_id: Id
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    answers: tuple[OcspAnswer, ...]
    this_update: datetime
    next_update: datetime
    everyone: bool = Field(description="true: the batch is part of a run over all certificates of the issuer")
    more_after: int | None = Field(description="position of the next batch; none: this is the last")
    through: int = Field(ge=0, description="sequence of the last event of the log that it takes into account")


class SignedOcspAnswer(Value):
    serial: Serial
    issuer_key_hash: str = Field(pattern=r"^[0-9a-f]{40,64}$")
    response: Base64 = Field(description="DER of the OCSPResponse")


class OcspPublished(OcspMessage, Event):
    batch_id: Id
    issuer_id: Id
    responder_id: Id
    answers: tuple[SignedOcspAnswer, ...]
    this_update: datetime
    next_update: datetime
    everyone: bool
    more_after: int | None
    next_at: AwareDatetime = Field(description="time at which new responses are due")


OcspCommand = PrepareOcsp | PublishOcsp
OcspEvent = OcspPrepared | OcspPublished
