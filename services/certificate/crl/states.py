"""Where an issuer's CRLs stand: the one that was published last, and one that waits for its signature."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class PendingCrl:
    """Built, and told in `certificate.crl-created`; *tbs* is base64."""

    number: int
    this_update: datetime
    next_update: datetime
    through: int
    entries: int
    tbs: str
    tbs_sha256: str
    signing_key_id: str
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class PublishedCrl:
    number: int
    this_update: datetime
    through: int
    next_at: datetime


@dataclass(frozen=True, slots=True)
class CrlStanding:
    """*number* and *this_update* are of the one built last, whether it was published or not."""

    number: int
    this_update: datetime
    published: PublishedCrl | None = None
    pending: PendingCrl | None = None
