"""What a certificate can be: Unborn, Created (built, not signed), Issued, Revoked. Snapshots are these as JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.certificate.crl_states import CrlStanding
from shared.contracts.keying import SignatureAlgorithm
from shared.contracts.naming import Profile, RevocationReason


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
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True)
class Issued:
    """*key_id* is the key it is about, and so the one it issues with; *signing_key_id* the one it was signed with."""

    profile: Profile
    certificate_pem: str
    serial: str
    issuer_id: str | None
    key_id: str | None
    signing_key_id: str
    not_before: datetime
    not_after: datetime
    crl: CrlStanding | None = None
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    serial: str | None
    existed: bool
    reason: RevocationReason
    kind: Literal["revoked"] = "revoked"


Certificate = Unborn | Created | Issued | Revoked
