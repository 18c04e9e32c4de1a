"""Rules for an OpenSSH certificate (PROTOCOL.certkeys): by this key, for principals, of limited validity."""

from __future__ import annotations

import base64
from datetime import timedelta

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from services.key.custody.tbs import NotSignableError, describe_error

_MAX_VALIDITY = timedelta(days=3653)  # ten years
_CRITICAL_OPTIONS = frozenset({b"force-command", b"source-address"})
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, UnicodeDecodeError)
_EMPTY_STRING = b"\0\0\0\0"


def require_ssh_certificate(message: bytes, public_key: CertificatePublicKeyTypes) -> None:
    """Checks an OpenSSH certificate without its signature."""
    certificate, own = _read(message, public_key), _blob(public_key)
    if not message.endswith(_EMPTY_STRING + _string(own)):  # reserved, then the signature key
        raise NotSignableError("its signature key is another key: it must be this public key")
    if certificate.type not in (SSHCertificateType.USER, SSHCertificateType.HOST):
        raise NotSignableError("its type is neither user nor host")
    if certificate.serial == 0:
        raise NotSignableError("its serial is zero, so it could not be revoked by its serial")
    if not certificate.valid_principals:
        raise NotSignableError("it has no principal, so it would be valid for every user")
    if not 0 < certificate.valid_before - certificate.valid_after <= _MAX_VALIDITY.total_seconds():
        raise NotSignableError("it must end, after it begins and within ten years of that")
    unknown = sorted(certificate.critical_options.keys() - _CRITICAL_OPTIONS)
    if unknown:
        raise NotSignableError(f"its critical option {unknown[0].decode(errors='replace')} is not understood here")
    if _blob(certificate.public_key()) == own:
        raise NotSignableError("it is about the key that signs it")


def _read(message: bytes, public_key: CertificatePublicKeyTypes) -> SSHCertificate:
    """Parses the message with an empty signature appended, which makes it a complete certificate."""
    length = int.from_bytes(message[:4])
    kind = message[4 : 4 + length]
    finished = message + _string(_string(_signature_format(public_key)) + _string(b""))
    try:
        certificate = load_ssh_public_identity(kind + b" " + base64.b64encode(finished))
        if not isinstance(certificate, SSHCertificate):
            raise NotSignableError("it is a key, no certificate")
        _ = certificate.type, certificate.public_key(), certificate.key_id
    except _UNREADABLE as error:
        raise NotSignableError(f"no OpenSSH certificate without its signature: {describe_error(error)}") from None
    return certificate


def _signature_format(public_key: CertificatePublicKeyTypes) -> bytes:
    """Returns the name of the signature format: by hash for RSA (RFC 8332), else the key type."""
    blob = _blob(public_key)
    name = blob[4 : 4 + int.from_bytes(blob[:4])]
    return b"rsa-sha2-256" if name == b"ssh-rsa" else name


def _blob(public_key: object) -> bytes:
    if not isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise NotSignableError("a key of this algorithm is not known to OpenSSH")
    return base64.b64decode(public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])


def _string(content: bytes) -> bytes:
    """Encodes a string (RFC 4251, 5)."""
    return len(content).to_bytes(4) + content
