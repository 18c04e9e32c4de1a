"""Rules for a NATS JWT: a key of an operator or account signs its own JWT and those one level below."""

from __future__ import annotations

import base64
import binascii
import json
import re

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from services.key.custody.tbs import NotSignableError
from shared.contracts.key.value_types import Purpose

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_CLAIMS = frozenset({"aud", "exp", "iat", "iss", "jti", "name", "nbf", "sub", "nats"})
_FIELD = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = 2
_SUBJECTS: dict[Purpose, dict[str, Purpose]] = {
    # signer -> type of the JWT -> purpose of the key that is its subject
    Purpose.NATS_OPERATOR: {"operator": Purpose.NATS_OPERATOR, "account": Purpose.NATS_ACCOUNT},
    Purpose.NATS_ACCOUNT: {"user": Purpose.NATS_USER, "activation": Purpose.NATS_ACCOUNT},
}
_PREFIXES = {
    Purpose.NATS_OPERATOR: 14 << 3,
    Purpose.NATS_ACCOUNT: 0,
    Purpose.NATS_USER: 20 << 3,
    Purpose.NATS_SERVER: 13 << 3,
}


def require_nats_jwt(message: bytes, purpose: Purpose, public_key: CertificatePublicKeyTypes) -> None:
    """Checks the signing input of a JWT: header and claims in base64url, joined by a dot (RFC 7515, 5.1)."""
    if purpose not in _SUBJECTS:
        raise NotSignableError(
            f"a key for {purpose} signs nothing here: its holder authenticates with an exported copy"
        )
    if not isinstance(public_key, ed25519.Ed25519PublicKey):
        raise NotSignableError("a NATS key is an Ed25519 key")
    parts = message.split(b".")
    if len(parts) != 2:  # noqa: PLR2004 - a header and claims
        raise NotSignableError("no signing input of a JWT: header.claims, each in base64url")
    header, claims = (_object(part) for part in parts)
    if header != _HEADER:
        raise NotSignableError(f"the header of the JWT must be {json.dumps(_HEADER)}")
    # nats-server matches field names without case, and the last duplicate counts.
    if unknown := sorted(claims.keys() - _CLAIMS):
        raise NotSignableError(f"the JWT's claim {unknown[0]!r} is not one that a NATS JWT has")
    own = public_nkey(purpose, public_key.public_bytes_raw())
    if claims.get("iss") != own:
        raise NotSignableError("the JWT's iss is another key: it must be this public key, as an nkey")
    nats = claims.get("nats")
    if not isinstance(nats, dict) or not all(_FIELD.fullmatch(name) for name in nats):
        raise NotSignableError("the JWT has no nats object with lower-case field names")
    if nats.get("version") != _VERSION:
        raise NotSignableError(f"the JWT's nats.version must be {_VERSION}")
    _require_subject(claims.get("sub"), nats.get("type"), purpose, own)


def _require_subject(subject: object, kind: object, purpose: Purpose, own: str) -> None:
    allowed = _SUBJECTS[purpose]
    if not isinstance(kind, str) or kind not in allowed:
        raise NotSignableError(f"a key for {purpose} signs tokens of nats.type {', '.join(allowed)}, not {kind!r}")
    if allowed[kind] is purpose is Purpose.NATS_OPERATOR and subject != own:
        raise NotSignableError("an operator's own token is about itself: sub must be iss")
    if not isinstance(subject, str) or not _is_nkey(allowed[kind], subject):
        raise NotSignableError(f"the JWT's sub is no public key of a {allowed[kind].removeprefix('nats-')}")


def _object(part: bytes) -> dict[str, object]:
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        content = json.loads(decoded.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise NotSignableError(f"no signing input of a JWT: {error}") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part or not isinstance(content, dict):
        raise NotSignableError("no signing input of a JWT: header.claims, each a JSON object in base64url")
    return content


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a field occurs twice")
    return content


def _is_nkey(purpose: Purpose, text: str) -> bool:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:  # also for text that is not ASCII
        return False
    return public_nkey(purpose, raw[1:33]) == text


def public_nkey(purpose: Purpose, raw_public_key: bytes) -> str:
    """Encodes a public key as an NKey: prefix byte, key and CRC-16/XMODEM in base32."""
    content = bytes([_PREFIXES[purpose]]) + raw_public_key
    checksum = binascii.crc_hqx(content, 0).to_bytes(2, "little")
    return base64.b32encode(content + checksum).decode().rstrip("=")
