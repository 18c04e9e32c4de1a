"""States of a batch of OCSP responses: Unborn, Prepared (built, not signed), Published. A snapshot is one as JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class UnsignedResponse:
    """One ResponseData (RFC 6960, 4.2.1), base64 in *tbs*."""

    serial: str
    issuer_key_hash: str
    tbs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Built, not signed. *through* is the last log sequence that the responses take into account.

    *everyone*: the batch is one page of all certificates of the issuer; *more_after* is the cursor of the next page.
    """

    issuer_id: str
    responder_id: str
    signature_algorithm: SignatureAlgorithm
    answers: tuple[UnsignedResponse, ...]
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
