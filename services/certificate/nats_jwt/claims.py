"""Claims of NATS JWTs, version 2, in the form that nats-server parses (github.com/nats-io/jwt). Pure."""

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
_UNLIMITED = -1


def signing_input(request: CreateNatsJwt, revoked: Sequence[RevokedNatsUser], at: datetime) -> bytes:
    """Encodes header and claims of the requested JWT, issued *at* that time (RFC 7515, 5.1)."""
    claims: dict[str, Any] = {
        "iat": int(at.timestamp()),
        "iss": request.issuer,
        "name": request.name,
        "sub": request.subject,
        "nats": {**_entity_claims(request, revoked), "type": str(request.entity), "version": 2},
    }
    if request.validity_days is not None:
        claims["exp"] = int((at + timedelta(days=request.validity_days)).timestamp())
    digest = hashlib.sha256(_json(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    return _base64url(_json(_HEADER)) + b"." + _base64url(_json(claims))


def _entity_claims(request: CreateNatsJwt, revoked: Sequence[RevokedNatsUser]) -> dict[str, Any]:
    match request.entity:
        case NatsEntity.OPERATOR:
            return {"system_account": request.system_account} if request.system_account is not None else {}
        case NatsEntity.ACCOUNT:
            revocations = {"revocations": {each.nkey: each.since for each in revoked}} if revoked else {}
            return {"limits": _limits(request.limits), "default_permissions": {"pub": {}, "sub": {}}, **revocations}
        case NatsEntity.USER:
            unlimited = {"subs": _UNLIMITED, "data": _UNLIMITED, "payload": _UNLIMITED}
            return {**_permissions(request.permissions), **unlimited}


def _limits(limits: NatsAccountLimits) -> dict[str, Any]:
    storage = _UNLIMITED if limits.jetstream else 0
    return {
        "subs": limits.subscriptions,
        "data": _UNLIMITED,
        "payload": limits.payload_bytes,
        "imports": _UNLIMITED,
        "exports": _UNLIMITED,
        "wildcards": True,
        "conn": limits.connections,
        "leaf": _UNLIMITED,
        "mem_storage": storage,
        "disk_storage": storage,
        "streams": storage,
        "consumer": storage,
    }


def _permissions(permissions: NatsPermissions) -> dict[str, Any]:
    by_direction = {
        "pub": {"allow": permissions.publish_allow, "deny": permissions.publish_deny},
        "sub": {"allow": permissions.subscribe_allow, "deny": permissions.subscribe_deny},
    }
    return {
        direction: {verdict: list(subjects) for verdict, subjects in rules.items() if subjects}
        for direction, rules in by_direction.items()
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
