"""State of an issuer's CRLs, which is part of the snapshot of the issuer's certificate."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCrl:
    """A CRL that waits for its signature. *tbs* is base64; *through* is the last log sequence that it covers."""

    number: int
    this_update: datetime
    next_update: datetime
    through: int
    entries: int
    tbs: str
    tbs_sha256: str
    signing_key_id: str
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCrl:
    """The last published CRL. The next one is due at *next_at*, or earlier if a revocation follows."""

    number: int
    this_update: datetime
    through: int
    next_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlState:
    """The CRLs of an issuer. *number* and *this_update* are those of the newest CRL, published or not."""

    number: int
    this_update: datetime
    published: PublishedCrl | None = None
    pending: PendingCrl | None = None
