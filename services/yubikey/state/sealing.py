"""What follows from the service's secret: the key that others seal to, and the one that documents are sealed with.

HPKE (RFC 9180), so that a key to be imported is never in a message in the clear. No key is stored. Beside the secret
there may be the one before it, which opens what was sealed then.
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
    """The sealed key does not open, or what is in it is no private key; nothing more may be said of it."""


class SealingKey:
    """*previous*: the secret before this one. What is sealed to its public key may still be on its way."""

    def __init__(self, secret: bytes, previous: bytes | None = None) -> None:
        self._keys = tuple(
            X25519PrivateKey.from_private_bytes(derived(each, b"cim-keys/yubikey/sealing/v1"))
            for each in (secret, previous)
            if each is not None
        )
        self.public = self._keys[0].public_key().public_bytes_raw()

    def opened(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed for *info*. Raises InvalidTag or ValueError."""
        for key in self._keys[:-1]:
            with contextlib.suppress(InvalidTag):
                return SUITE.decrypt(sealed, key, info)
        return SUITE.decrypt(sealed, self._keys[-1], info)

    def open(self, sealed: bytes, key_id: str) -> PrivateKey:
        """The private key in *sealed*, which was sealed for *key_id*: under another id it does not open."""
        try:
            pkcs8 = self.opened(sealed, sealing_info(key_id))
        except (InvalidTag, ValueError):
            raise SealError("it does not open with this service's key for this key id") from None
        try:
            key = load_der_private_key(pkcs8, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SealError("what it holds is no PKCS#8 private key") from None
        if not isinstance(key, PrivateKey):
            raise SealError("what it holds is no key of a kind that a YubiKey has")
        return key


class DocumentSealing:
    """AES-256-GCM for documents, each *about* something: as a document about something else it does not open."""

    def __init__(self, secret: bytes, purpose: bytes, previous: bytes | None = None) -> None:
        self._ciphers = tuple(AESGCM(derived(each, purpose)) for each in (secret, previous) if each is not None)

    def seal(self, content: bytes, about: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, content, about.encode())

    def open(self, sealed: bytes, about: str) -> tuple[bytes, bool]:
        """The content, and whether it is sealed with today's secret. Raises InvalidTag."""
        nonce, text = sealed[:_NONCE], sealed[_NONCE:]
        for cipher in self._ciphers[:-1]:
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(nonce, text, about.encode()), True
        return self._ciphers[-1].decrypt(nonce, text, about.encode()), len(self._ciphers) == 1


def derived(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose, from which neither the secret nor those of another purpose follow (RFC 5869)."""
    return HKDF(SHA256(), SECRET_SIZE, None, purpose).derive(secret)
