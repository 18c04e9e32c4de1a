"""Where private keys for devices are sealed to: one X25519 key pair that follows from the service's secret.

HPKE (RFC 9180), so that a key to be imported is never in a message in the clear. Nothing is stored.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_der_private_key
from yubikit.piv import PrivateKey

from shared.contracts.keying import sealing_info

SECRET_SIZE = 32
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(Exception):
    """The sealed key does not open, or what is in it is no private key; nothing more may be said of it."""


class SealingKey:
    def __init__(self, secret: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(derived(secret, b"cim-keys/yubikey/sealing/v1"))
        self.public = self._key.public_key().public_bytes_raw()

    def opened(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed for *info*. Raises InvalidTag or ValueError."""
        return SUITE.decrypt(sealed, self._key, info)

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


def derived(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose, from which neither the secret nor those of another purpose follow (RFC 5869)."""
    return HKDF(SHA256(), SECRET_SIZE, None, purpose).derive(secret)
