"""Formats of public keys: PEM, DER, JWK, authorized_keys, nkey."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from services.key.crypto.algorithms import PublicKey, spki
from services.key.crypto.nkeys import ed25519_of, public_nkey
from shared.contracts.key.value_types import PublicKeyFormat, Purpose

_CURVES = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48)}


def encode_public_key(public_key_pem: str, purpose: Purpose, form: PublicKeyFormat) -> str:
    """Encodes a public key. `decide` has checked that the key has that format."""
    public = load_pem_public_key(public_key_pem.encode())
    if not isinstance(public, PublicKey):
        raise TypeError("a key of an algorithm that the key service does not support")
    match form:
        case PublicKeyFormat.PEM:
            return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        case PublicKeyFormat.DER:
            return base64.b64encode(spki(public)).decode()
        case PublicKeyFormat.JWK:
            return _jwk(public)
        case PublicKeyFormat.SSH:
            return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        case PublicKeyFormat.NKEY:
            return public_nkey(purpose, ed25519_of(public_key_pem))
        case _:
            assert_never(form)


def _jwk(public: PublicKey) -> str:
    """Encodes a JWK whose kid is its thumbprint (RFC 7638): SHA-256 of the required members, sorted, without spaces."""
    required = _required(public)
    thumbprint = sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return json.dumps(required | {"kid": _base64url(thumbprint)}, sort_keys=True, separators=(",", ":"))


def _required(public: PublicKey) -> dict[str, str]:
    match public:
        case rsa.RSAPublicKey():  # RFC 7518, 6.3
            numbers = public.public_numbers()
            return {"kty": "RSA", "n": _base64url(_octets(numbers.n)), "e": _base64url(_octets(numbers.e))}
        case ec.EllipticCurvePublicKey():  # RFC 7518, 6.2: coordinates are as long as the curve, with leading zeros
            name, length = _CURVES[public.curve.name]
            x, y = public.public_numbers().x, public.public_numbers().y
            coordinates = {"x": _base64url(x.to_bytes(length)), "y": _base64url(y.to_bytes(length))}
            return {"kty": "EC", "crv": name} | coordinates
        case ed25519.Ed25519PublicKey():  # RFC 8037
            return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public.public_bytes_raw())}
        case x25519.X25519PublicKey():
            return {"kty": "OKP", "crv": "X25519", "x": _base64url(public.public_bytes_raw())}
        case mldsa.MLDSA65PublicKey():  # draft-ietf-cose-dilithium: AKP keys require alg
            return {"kty": "AKP", "alg": "ML-DSA-65", "pub": _base64url(public.public_bytes_raw())}
        case _:
            assert_never(public)


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
