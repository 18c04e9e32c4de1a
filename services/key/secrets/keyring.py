"""The key-encryption keys of this process: the current one, and during a change its predecessor."""

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
    """Wraps data keys and nothing else: AES key wrap with padding (RFC 5649)."""

    kek_id: str
    _key: bytes = field(repr=False)

    def wrap(self, data_key: bytes) -> bytes:
        return aes_key_wrap_with_padding(self._key, data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Unwraps a data key. Raises InvalidUnwrap if another KEK wrapped it, or if it was altered."""
        return aes_key_unwrap_with_padding(self._key, wrapped)

    def is_wrapped(self, wrapped: bytes, content: bytes) -> bool:
        """Tells whether *wrapped* is *content* wrapped under this KEK."""
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
        """Unwraps a data key. Raises Transient for an unknown KEK: a process with the newer secret has it."""
        for kek in (self.current, self.previous):
            if kek is not None and kek.kek_id == kek_id:
                return kek.unwrap(wrapped)
        raise Transient(
            f"the entry is sealed under key-encryption key {kek_id}, and this process has {self.kek_id}: "
            "restart it with the secret that KEYS_SECRETS is sealed with now"
        )
