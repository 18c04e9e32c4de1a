"""States of an X.509 certificate: Unborn, Created (built, not signed), Issued, Revoked. A snapshot is one as JSON."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.certificate.crl.states import CrlState
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

STATE_VERSION = 2
"""Changes with the fields of these classes; the event store ignores snapshots of another version."""


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """Built, not signed. *tbs* is base64."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """Signed or imported, and not revoked.

    *key_id* is the certified key, with which a CA signs; *signing_key_id* is the issuer's key, None if imported.

    *expiring_at* is the date of the expiry notice and *announced* tells that it was given; *renewal* and *ocsp* are the
    issuer's policy at issuance. *held* is certificateHold. *crl* is the state of the CRLs that a CA issues.
    """

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
    crl: CrlState | None = None
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Revoked; *existed* is False if the id was voided before it had a certificate."""

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
CurrentCertificate = Callable[[str], Awaitable[Certificate]]
"""Reads the latest state of a certificate by its id."""
