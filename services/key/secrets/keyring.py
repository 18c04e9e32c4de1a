"""The key-encryption keys that this process was given: the one it seals with, and perhaps the one before it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from shared.errors import Transient


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """Wraps the data keys, and nothing else: AES key wrap with padding, RFC 5649."""

    kek_id: str
    _key: bytes = field(repr=False)

    def wrap(self, data_key: bytes) -> bytes:
        return aes_key_wrap_with_padding(self._key, data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises cryptography's InvalidUnwrap when another key wrapped it, or it was altered."""
        return aes_key_unwrap_with_padding(self._key, wrapped)

    def wrapped(self, wrapped: bytes, content: bytes) -> bool:
        """Whether *wrapped* is *content* under this key."""
        try:
            return self.unwrap(wrapped) == content
        except InvalidUnwrap:
            return False


@dataclass(frozen=True, slots=True)
class Keyring:
    """Seals with the current key; opens with either."""

    current: KeyEncryptionKey
    previous: KeyEncryptionKey | None = None

    @property
    def kek_id(self) -> str:
        return self.current.kek_id

    def wrap(self, data_key: bytes) -> bytes:
        return self.current.wrap(data_key)

    def unwrap(self, kek_id: str, wrapped: bytes) -> bytes:
        """Raises Transient for a key that is not here: a sibling that was given the newer secret will have it."""
        for kek in (self.current, self.previous):
            if kek is not None and kek.kek_id == kek_id:
                return kek.unwrap(wrapped)
        raise Transient(
            f"it is sealed under key-encryption key {kek_id}, and this process has {self.kek_id}: "
            "restart it with the secret that KEYS_SECRETS is sealed with now"
        )
