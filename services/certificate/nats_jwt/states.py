"""What there can be of a key of NATS: nothing, a JWT that waits for its signature, a signed one, none any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.contracts.certificate.nats_jwt import CreateNatsJwt, RevokedNatsUser


@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Created:
    """*tbs* is base64."""

    wish: CreateNatsJwt
    tbs: str
    version: int
    revoked_users: tuple[RevokedNatsUser, ...] = ()
    kind: Literal["created"] = "created"


@dataclass(frozen=True, slots=True)
class Issued:
    wish: CreateNatsJwt
    jwt: str
    version: int
    revoked_users: tuple[RevokedNatsUser, ...] = ()
    kind: Literal["issued"] = "issued"


@dataclass(frozen=True, slots=True)
class Revoked:
    existed: bool
    kind: Literal["revoked"] = "revoked"


NatsJwt = Unborn | Created | Issued | Revoked
