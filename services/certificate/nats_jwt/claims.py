"""The claims of NATS's JWTs, version 2, as nats-server reads them (github.com/nats-io/jwt). Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.contracts.certificate.nats_jwt import (
    CreateNatsJwt,
    NatsAccountLimits,
    NatsEntity,
    NatsPermissions,
    RevokedNatsUser,
)

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_ANY = -1


def signing_input(wish: CreateNatsJwt, revoked: Sequence[RevokedNatsUser], at: datetime) -> bytes:
    """Header and claims of the JWT that is asked for at that time, ready to be signed (RFC 7515, 5.1)."""
    claims: dict[str, Any] = {
        "iat": int(at.timestamp()),
        "iss": wish.issuer,
        "name": wish.name,
        "sub": wish.subject,
        "nats": {**_of(wish, revoked), "type": str(wish.entity), "version": 2},
    }
    if wish.validity_days is not None:
        claims["exp"] = int((at + timedelta(days=wish.validity_days)).timestamp())
    digest = hashlib.sha256(_written(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    return _base64url(_written(_HEADER)) + b"." + _base64url(_written(claims))


def _of(wish: CreateNatsJwt, revoked: Sequence[RevokedNatsUser]) -> dict[str, Any]:
    match wish.entity:
        case NatsEntity.OPERATOR:
            return {"system_account": wish.system_account} if wish.system_account is not None else {}
        case NatsEntity.ACCOUNT:
            revocations = {"revocations": {each.nkey: each.since for each in revoked}} if revoked else {}
            return {"limits": _limits(wish.limits), "default_permissions": {"pub": {}, "sub": {}}, **revocations}
        case NatsEntity.USER:
            return {**_permissions(wish.permissions), "subs": _ANY, "data": _ANY, "payload": _ANY}


def _limits(limits: NatsAccountLimits) -> dict[str, Any]:
    stored = _ANY if limits.jetstream else 0
    return {
        "subs": limits.subscriptions,
        "data": _ANY,
        "payload": limits.payload_bytes,
        "imports": _ANY,
        "exports": _ANY,
        "wildcards": True,
        "conn": limits.connections,
        "leaf": _ANY,
        "mem_storage": stored,
        "disk_storage": stored,
        "streams": stored,
        "consumer": stored,
    }


def _permissions(permissions: NatsPermissions) -> dict[str, Any]:
    said = {
        "pub": {"allow": permissions.publish_allow, "deny": permissions.publish_deny},
        "sub": {"allow": permissions.subscribe_allow, "deny": permissions.subscribe_deny},
    }
    return {way: {kind: list(found) for kind, found in kinds.items() if found} for way, kinds in said.items()}


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
