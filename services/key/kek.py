"""The key-encryption key: derived from a passphrase or read from a file, and proven to be the one that KEYS_SECRETS was
sealed with."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, assert_never

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.contracts.base import Base64
from shared.errors import Conflict, Unusable
from shared.identity import new_id
from shared.kv import KeyValue

SHORTEST_PASSPHRASE = 12
_KEY_LENGTH = 32
_SALT_LENGTH = 16
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ANY = "kek.*"


@dataclass(frozen=True, slots=True)
class Passphrase:
    text: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Passphrase:
        """The first line of the file. Raises Unusable when it has none, or too short a one."""
        try:
            text = path.read_text().split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"the passphrase file {path} cannot be read: {_reason(error)}") from None
        if len(text) < SHORTEST_PASSPHRASE:
            raise Unusable(
                f"the passphrase in {path} is shorter than {SHORTEST_PASSPHRASE} characters: use a longer one"
            )
        return cls(text)


@dataclass(frozen=True, slots=True)
class KeyFile:
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """32 octets, raw or as 64 hexadecimal digits. Raises Unusable when it is not that, or not private."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(_KEY_LENGTH * 2 + 2)
        except OSError as error:
            raise Unusable(f"the key file {path} cannot be read: {_reason(error)}") from None
        if mode & _READABLE_BY_OTHERS:
            raise Unusable(f"the key file {path} is open to others than its owner: chmod 600 it")
        if len(content) == _KEY_LENGTH:
            return cls(content)
        try:
            key = bytes.fromhex(content.decode("ascii").rstrip("\r\n"))
        except ValueError:
            key = b""
        if len(key) != _KEY_LENGTH:
            raise Unusable(f"the key file {path} must hold exactly 32 octets, raw or as 64 hexadecimal digits")
        return cls(key)


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


class _Entry(BaseModel):
    """What KEYS_SECRETS knows of a key-encryption key: enough to tell the right one, not to find it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    kek_id: str
    check: Base64


class _OfPassphrase(_Entry):
    """Argon2id with the second choice of RFC 9106, section 4. Bounded, lest a forged entry exhaust this process."""

    kind: Literal["passphrase"] = "passphrase"
    salt: Base64 = Field(min_length=_SALT_LENGTH)
    memory_kib: int = Field(default=64 * 1024, ge=19 * 1024, le=1024 * 1024)
    iterations: int = Field(default=3, ge=2, le=16)
    lanes: int = Field(default=4, ge=1, le=16)

    def derive(self, passphrase: Passphrase) -> bytes:
        kdf = Argon2id(
            salt=self.salt,
            length=_KEY_LENGTH,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return kdf.derive(passphrase.text.encode())


class _OfKeyFile(_Entry):
    kind: Literal["key-file"] = "key-file"


_ENTRY: TypeAdapter[_OfPassphrase | _OfKeyFile] = TypeAdapter(
    Annotated[_OfPassphrase | _OfKeyFile, Field(discriminator="kind")]
)


async def unlock(bucket: KeyValue, secret: Passphrase | KeyFile) -> KeyEncryptionKey:
    """The key-encryption key that *bucket* was sealed with; on the first start, what it is sealed with from now on.

    Raises Unusable when *secret* does not lead to it.
    """
    if isinstance(secret, Passphrase) and len(secret.text) < SHORTEST_PASSPHRASE:
        raise Unusable(f"the passphrase is shorter than {SHORTEST_PASSPHRASE} characters: use a longer one")
    document = await bucket.get(_ANY)
    if document is None:
        if await bucket.get("key.*") is not None:
            raise Unusable(f"{bucket.bucket} holds keys, but not what their key-encryption key is told by: restore it")
        try:
            return await _begin(bucket, secret)
        except Conflict:  # a sibling began meanwhile
            document = await bucket.get(_ANY)
    if document is None:
        raise Unusable(
            f"what tells the key-encryption key of {bucket.bucket} comes and goes: nobody else may write there"
        )
    try:
        entry = _ENTRY.validate_json(document.value)
    except ValidationError:
        raise Unusable(f"{bucket.bucket}/{document.key} is not readable: restore it") from None
    return await _prove(bucket, entry, secret)


async def _begin(bucket: KeyValue, secret: Passphrase | KeyFile) -> KeyEncryptionKey:
    kek_id = str(new_id())
    entry: _OfPassphrase | _OfKeyFile
    match secret:
        case Passphrase():
            entry = _OfPassphrase(kek_id=kek_id, check=b"", salt=os.urandom(_SALT_LENGTH))
            kek = KeyEncryptionKey(kek_id, await asyncio.to_thread(entry.derive, secret))
        case KeyFile():
            entry = _OfKeyFile(kek_id=kek_id, check=b"")
            kek = KeyEncryptionKey(kek_id, secret.key)
        case _:
            assert_never(secret)
    entry = entry.model_copy(update={"check": kek.wrap(_check_value(kek_id))})
    # Unique over all ids: siblings that begin at once with different secrets must not both succeed.
    await bucket.put(f"kek.{kek_id}", entry.model_dump_json().encode(), revision=0, unique=_ANY)
    return kek


async def _prove(bucket: KeyValue, entry: _OfPassphrase | _OfKeyFile, secret: Passphrase | KeyFile) -> KeyEncryptionKey:
    match entry, secret:
        case _OfPassphrase(), Passphrase():
            key, name = await asyncio.to_thread(entry.derive, secret), "passphrase"
        case _OfKeyFile(), KeyFile():
            key, name = secret.key, "key file"
        case _OfPassphrase(), KeyFile():
            raise Unusable(f"{bucket.bucket} was sealed with a passphrase, not with a key file: give the passphrase")
        case _:
            raise Unusable(f"{bucket.bucket} was sealed with a key file, not with a passphrase: give the key file")
    kek = KeyEncryptionKey(entry.kek_id, key)
    try:
        proven = kek.unwrap(entry.check) == _check_value(entry.kek_id)
    except InvalidUnwrap:
        proven = False
    if not proven:
        raise Unusable(f"the {name} is not the one that {bucket.bucket} was sealed with")
    return kek


def _check_value(kek_id: str) -> bytes:
    return b"cim-keys/kek-check/v1/" + kek_id.encode()


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8 text"
