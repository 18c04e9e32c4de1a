"""Files nobody reads without the key: AES-256-GCM, and replaced whole or not at all."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"CIMVYK1\n"
NONCE_SIZE = 12
KEY_SIZE = 32


class SealedFileError(ValueError):
    """A sealed file does not open."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One file, sealed for one *purpose*: another's content in its place does not open."""

    path: Path
    purpose: str
    key: bytes = field(repr=False)

    def read(self) -> bytes | None:
        """Open the file; None when there is none yet."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        magic, nonce, sealed = _split(content)
        if magic != MAGIC:
            raise SealedFileError(f"{self.path} is not the state of a virtual YubiKey")
        try:
            return AESGCM(self.key).decrypt(nonce, sealed, self._associated_data)
        except InvalidTag:
            raise SealedFileError(
                f"{self.path} does not open: either the sealing key is not the one it was written"
                " with, or the file was altered"
            ) from None

    def write(self, content: bytes) -> None:
        """Seal *content* and put it in the place of what was there.

        There is no fsync: kill -9 loses nothing, because the kernel has the bytes before the
        rename; a power cut may lose the last writes of a device that is only virtual.
        """
        nonce = os.urandom(NONCE_SIZE)
        sealed = AESGCM(self.key).encrypt(nonce, content, self._associated_data)
        temporary = self.path.with_suffix(".tmp")
        # What a killed process left half-written is removed, never continued: its mode is unknown.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + nonce + sealed)
        temporary.replace(self.path)

    @property
    def _associated_data(self) -> bytes:
        return MAGIC + self.purpose.encode()


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    body = len(MAGIC) + NONCE_SIZE
    return content[: len(MAGIC)], content[len(MAGIC) : body], content[body:]
