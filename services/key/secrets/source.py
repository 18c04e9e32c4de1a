"""Secrets that the key-encryption key comes from: a passphrase, or the key itself."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

from shared.process.settings import read_private_file

MIN_PASSPHRASE_LENGTH = 12
KEY_LENGTH = 32
_MAX_FILE_SIZE = KEY_LENGTH * 2 + 2


@dataclass(frozen=True, slots=True)
class Passphrase:
    text: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Passphrase:
        """Reads the first line of a file. Raises ValueError with a reason that does not repeat it."""
        try:
            return cls.parse(path.read_text())
        except OSError as error:
            raise ValueError(f"it cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None

    @classmethod
    def parse(cls, text: str) -> Passphrase:
        """Takes the first line of *text*, so that a variable and a file of the same content are the same secret."""
        line = text.split("\n", 1)[0].rstrip("\r")
        if len(line) < MIN_PASSPHRASE_LENGTH:
            raise ValueError(f"it is shorter than {MIN_PASSPHRASE_LENGTH} characters")
        return cls(line)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The key-encryption key itself, from a file or from the environment: both open the same seals."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """Reads 32 octets, raw or as 64 hexadecimal digits. Raises ValueError."""
        content = read_private_file(path, _MAX_FILE_SIZE)
        if len(content) == KEY_LENGTH:
            return cls(content)
        try:
            key = bytes.fromhex(content.decode("ascii").rstrip("\r\n"))
        except ValueError:
            key = b""
        if len(key) != KEY_LENGTH:
            raise ValueError(f"it does not hold exactly {KEY_LENGTH} octets")
        return cls(key)

    @classmethod
    def parse(cls, text: str) -> KeyFile:
        """Reads 64 hexadecimal digits or base64: their lengths differ, so no text is both. Raises ValueError."""
        for decode in (bytes.fromhex, _from_base64):
            try:
                key = decode(text.strip())
            except ValueError:
                continue
            if len(key) == KEY_LENGTH:
                return cls(key)
        raise ValueError(f"it is not exactly {KEY_LENGTH} octets")


Secret = Passphrase | KeyFile


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
