"""Keys derived from the service's secret: an HPKE key that clients seal to, and a key for sealed documents.

HPKE (RFC 9180) keeps a key to be imported out of messages in the clear. No derived key is stored. A previous secret, if
there is one, opens what was sealed under it.
"""

from __future__ import annotations

import contextlib
import os

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_der_private_key
from yubikit.piv import PrivateKey

from shared.contracts.key.value_types import sealing_info

SECRET_SIZE = 32
_NONCE = 12
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(Exception):
    """A sealed private key does not open, or does not contain a private key. The message reveals nothing of it."""


class SealingKey:
    """The HPKE key pair. *previous*: the secret before this one; messages sealed to it may still be in flight."""

    def __init__(self, secret: bytes, previous: bytes | None = None) -> None:
        self._keys = tuple(
            X25519PrivateKey.from_private_bytes(derive_key(each, b"cim-keys/yubikey/sealing/v1"))
            for each in (secret, previous)
            if each is not None
        )
        self.public = self._keys[0].public_key().public_bytes_raw()

    def unseal(self, sealed: bytes, info: bytes) -> bytes:
        """Opens a ciphertext that was sealed with *info*. Raises InvalidTag or ValueError."""
        for key in self._keys[:-1]:
            with contextlib.suppress(InvalidTag):
                return SUITE.decrypt(sealed, key, info)
        return SUITE.decrypt(sealed, self._keys[-1], info)

    def unseal_private_key(self, sealed: bytes, key_id: str) -> PrivateKey:
        """Opens a private key that was sealed for *key_id*. Raises SealError; under another id it does not open."""
        try:
            pkcs8 = self.unseal(sealed, sealing_info(key_id))
        except (InvalidTag, ValueError):
            raise SealError("it does not open with this service's key for this key id") from None
        try:
            key = load_der_private_key(pkcs8, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SealError("it does not contain a PKCS#8 private key") from None
        if not isinstance(key, PrivateKey):
            raise SealError("it contains a key that YubiKeys do not support")
        return key


class DocumentSealing:
    """AES-256-GCM for stored documents. Each is bound to its *subject*: for another subject it does not open."""

    def __init__(self, secret: bytes, purpose: bytes, previous: bytes | None = None) -> None:
        self._ciphers = tuple(AESGCM(derive_key(each, purpose)) for each in (secret, previous) if each is not None)

    def seal(self, content: bytes, subject: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, content, subject.encode())

    def open(self, sealed: bytes, subject: str) -> tuple[bytes, bool]:
        """The content, and True if it is sealed with the current secret. Raises InvalidTag."""
        nonce, text = sealed[:_NONCE], sealed[_NONCE:]
        for cipher in self._ciphers[:-1]:
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(nonce, text, subject.encode()), True
        return self._ciphers[-1].decrypt(nonce, text, subject.encode()), len(self._ciphers) == 1


def derive_key(secret: bytes, purpose: bytes) -> bytes:
    """Derives 32 bytes for one purpose with HKDF (RFC 5869)."""
    return HKDF(SHA256(), SECRET_SIZE, None, purpose).derive(secret)
