"""What the key-encryption key comes from: a passphrase or 32 octets, in a file or in the environment of the process."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import Unusable
from shared.process.settings import is_open_to_others

SHORTEST_PASSPHRASE = 12
KEY_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Passphrase:
    text: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Passphrase:
        """The first line of the file. Raises Unusable when it has none, or too short a one."""
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"the passphrase file {path} cannot be read: {_reason(error)}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> Passphrase:
        """The first line of *text*, which was found *where*; a file and a variable of the same content are the same."""
        line = text.split("\n", 1)[0].rstrip("\r")
        if len(line) < SHORTEST_PASSPHRASE:
            raise Unusable(
                f"the passphrase in {where} is shorter than {SHORTEST_PASSPHRASE} characters: use a longer one"
            )
        return cls(line)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The key itself; it does not matter to what is sealed whether it was in a file or in the environment."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """32 octets, raw or as 64 hexadecimal digits. Raises Unusable when it is not that, or not private."""
        try:
            with path.open("rb") as file:
                exposed = is_open_to_others(os.fstat(file.fileno()))
                content = file.read(KEY_LENGTH * 2 + 2)
        except OSError as error:
            raise Unusable(f"the key file {path} cannot be read: {_reason(error)}") from None
        if exposed:
            raise Unusable(f"the key file {path} is open to others than its owner: chmod 600 it")
        if len(content) == KEY_LENGTH:
            return cls(content)
        try:
            key = bytes.fromhex(content.decode("ascii").rstrip("\r\n"))
        except ValueError:
            key = b""
        if len(key) != KEY_LENGTH:
            raise Unusable(f"the key file {path} must hold exactly 32 octets, raw or as 64 hexadecimal digits")
        return cls(key)

    @classmethod
    def parse(cls, text: str, where: str) -> KeyFile:
        """32 octets as 64 hexadecimal digits or in base64; no text is both, for their lengths differ."""
        for decode in (bytes.fromhex, _from_base64):
            try:
                key = decode(text.strip())
            except ValueError:
                continue
            if len(key) == KEY_LENGTH:
                return cls(key)
        raise Unusable(f"{where} must be exactly 32 octets, as 64 hexadecimal digits or in base64")


Secret = Passphrase | KeyFile


@dataclass(frozen=True, slots=True)
class Source:
    """Where a secret is: exactly one of the four is said. *prefix* is what the names of its variables begin with."""

    passphrase_file: Path | None = None
    kek_file: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    kek: str | None = field(default=None, repr=False)
    prefix: str = "KEY_"

    def read(self) -> Secret:
        """Raises Unusable when what is there is no such secret, or when not exactly one is said."""
        said = [self.passphrase_file, self.kek_file, self.passphrase, self.kek]
        if sum(one is not None for one in said) != 1:
            names = [f"{self.prefix}{name}" for name in ("PASSPHRASE_FILE", "KEK_FILE", "PASSPHRASE", "KEK")]
            raise Unusable(
                f"set exactly one of {names[0]} and {names[1]}, to the path of the file with the secret, "
                f"or of {names[2]} and {names[3]}, to the secret itself"
            )
        if self.passphrase_file is not None:
            return Passphrase.read(self.passphrase_file)
        if self.kek_file is not None:
            return KeyFile.read(self.kek_file)
        if self.passphrase is not None:
            return Passphrase.parse(self.passphrase, f"{self.prefix}PASSPHRASE")
        return KeyFile.parse(self.kek or "", f"{self.prefix}KEK")


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8 text"
