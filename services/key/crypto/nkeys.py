"""NATS nkeys: a prefix letter for the role, an Ed25519 key and a checksum, in base32."""

from __future__ import annotations

import base64
import binascii

from shared.contracts.key.value_types import Purpose

_SEED = 18 << 3  # 'S'; a prefix has five bits, which become the first base32 letter
_PREFIXES = {
    Purpose.NATS_OPERATOR: 14 << 3,  # 'O'
    Purpose.NATS_ACCOUNT: 0,  # 'A'
    Purpose.NATS_USER: 20 << 3,  # 'U'
    Purpose.NATS_SERVER: 13 << 3,  # 'N'
}
_KEY_OCTETS = 32


def public_nkey(purpose: Purpose, public_key: bytes) -> str:
    """Encodes a public key (32 octets). Raises KeyError for a purpose that is not a NATS role."""
    return _text(bytes([_PREFIXES[purpose]]), public_key)


def nkey_seed(purpose: Purpose, seed: bytes) -> str:
    """Encodes a private key (the seed of RFC 8032). It starts with S and the letter of its role."""
    prefix = _PREFIXES[purpose]
    return _text(bytes([_SEED | prefix >> 5, (prefix & 0x1F) << 3]), seed)


def ed25519_of(public_key_pem: str) -> bytes:
    """Returns the 32 octets of an Ed25519 public key, the last of its SubjectPublicKeyInfo (RFC 8410, 4)."""
    return der_of(public_key_pem)[-_KEY_OCTETS:]


def der_of(pem: str) -> bytes:
    """Decodes a PEM block (RFC 7468) to DER; empty if it is not base64."""
    lines = [line for line in pem.splitlines() if not line.startswith("-----")]
    try:
        return base64.b64decode("".join(lines), validate=True)
    except binascii.Error:
        return b""


def _text(prefix: bytes, key: bytes) -> str:
    content = prefix + key
    checksum = binascii.crc_hqx(content, 0).to_bytes(2, "little")  # CRC-16/XMODEM
    return base64.b32encode(content + checksum).decode().rstrip("=")
