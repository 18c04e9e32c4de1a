"""States of a NATS JWT: Unborn, Created (built, not signed), Issued, Revoked. A snapshot is one of them as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.contracts.certificate.nats_jwt import CreateNatsJwt, RevokedNatsUser

STATE_VERSION = 2
"""Changes with the fields of these classes; the event store ignores snapshots of another version."""


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """Built, not signed. *tbs* is base64. *request* has the limits of the newest revision."""

    request: CreateNatsJwt
    tbs: str
    version: int
    revoked_users: tuple[RevokedNatsUser, ...] = ()
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    request: CreateNatsJwt
    jwt: str
    version: int
    revoked_users: tuple[RevokedNatsUser, ...] = ()
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    existed: bool
    kind: Literal["revoked"] = "revoked"


NatsJwt = Unborn | Created | Issued | Revoked
