"""What a certificate can be: Unborn, Created (built, not signed), Issued, Revoked. Snapshots are these as JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.certificate.crl.states import CrlStanding
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

STATE_VERSION = 2
"""Changes with the shape of what stands here: a snapshot of another version is not read."""


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Created:
    tbs: str
    profile: Profile
    signature_algorithm: SignatureAlgorithm
    issuer_id: str | None
    issuer_public_key_pem: str
    serial: str
    key_id: str | None
    signing_key_id: str
    not_before: datetime
    not_after: datetime
    predecessor_id: str | None = None
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True)
class Issued:
    """*key_id* is the key it is about, and so the one it issues with; *signing_key_id* the one it was signed with
    (None: it was imported). It may be on hold, be announced to end, have a successor, and have ended."""

    profile: Profile
    certificate_pem: str
    serial: str
    issuer_id: str | None
    key_id: str | None
    signing_key_id: str | None
    not_before: datetime
    not_after: datetime
    expiring_at: datetime | None = None
    renewal: bool = False
    ocsp: bool = False
    held: bool = False
    announced: bool = False
    expired: bool = False
    superseded_by: str | None = None
    predecessor_id: str | None = None
    crl: CrlStanding | None = None
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    """Views and export still know what it was; *existed*: it was more than an id."""

    serial: str | None
    existed: bool
    reason: RevocationReason
    profile: Profile | None = None
    certificate_pem: str | None = None
    issuer_id: str | None = None
    key_id: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    invalidity_date: datetime | None = None
    ocsp: bool = False
    superseded_by: str | None = None
    kind: Literal["revoked"] = "revoked"


Certificate = Unborn | Created | Issued | Revoked
