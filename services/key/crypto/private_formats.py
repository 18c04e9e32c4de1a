"""Export formats of private keys, always sealed to a recipient: PKCS#8, PKCS#12, nkey seed."""

from __future__ import annotations

import base64
import json
import secrets
from typing import assert_never

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from services.key.crypto.algorithms import PrivateKey, spki, to_pkcs8
from services.key.crypto.nkeys import nkey_seed
from shared.contracts.key.value_types import PrivateKeyFormat, Purpose

_PASSWORD_OCTETS = 24
_PBKDF2_ITERATIONS = 10_000
"""The password has 192 random bits, so more iterations add nothing."""


class CertificatesInvalidError(ValueError):
    """The certificates of the export do not belong to the key."""


def encode_private_key(
    private: PrivateKey, purpose: Purpose, form: PrivateKeyFormat, certificates_pem: tuple[str, ...]
) -> bytes:
    """Encodes a private key; `decide` has checked that its purpose allows *form*. Raises CertificatesInvalidError."""
    match form:
        case PrivateKeyFormat.PKCS8:
            return to_pkcs8(private)
        case PrivateKeyFormat.PKCS12:
            return _pkcs12(private, certificates_pem)
        case PrivateKeyFormat.NKEY_SEED:
            if not isinstance(private, ed25519.Ed25519PrivateKey):
                raise TypeError("an nkey is an Ed25519 key")
            return nkey_seed(purpose, private.private_bytes_raw()).encode()
        case _:
            assert_never(form)


def _pkcs12(private: PrivateKey, certificates_pem: tuple[str, ...]) -> bytes:
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise CertificatesInvalidError("PKCS#12 readers do not support this algorithm: request pkcs8")
    certificates = [_read(pem) for pem in certificates_pem]
    own = _require_own(private, certificates[0]) if certificates else None
    password = secrets.token_urlsafe(_PASSWORD_OCTETS)
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_PBKDF2_ITERATIONS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(password.encode())
    )
    content = pkcs12.serialize_key_and_certificates(None, private, own, certificates[1:] or None, encryption)
    return json.dumps({"pkcs12": base64.b64encode(content).decode(), "password": password}).encode()


def _read(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise CertificatesInvalidError("one of the certificates is not PEM") from None


def _require_own(private: PrivateKey, certificate: x509.Certificate) -> x509.Certificate:
    if _spki_of(certificate) != spki(private.public_key()):
        raise CertificatesInvalidError(
            "the first certificate belongs to another key: it must be a certificate of this key"
        )
    return certificate


def _spki_of(certificate: x509.Certificate) -> bytes:
    try:
        public = certificate.public_key()
    except ValueError:
        return b""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
