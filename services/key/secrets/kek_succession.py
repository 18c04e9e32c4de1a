"""What KEYS_SECRETS knows of key-encryption keys, and how one is followed by another (docs/adr/0010).

The successor of a key is written into that key's own document, over the revision that was read: of many who would be
the successor, one is. Whoever seals looks afterwards whether its key still had none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.key.secrets.keyring import KeyEncryptionKey, Keyring
from services.key.secrets.source import KEY_LENGTH, KeyFile, Passphrase, Secret
from shared.contracts.base import Base64
from shared.errors import Conflict, Transient, Unusable
from shared.messages.ids import new_id
from shared.nats.kv import Document, KeyValue

ANY = "kek.*"
_SALT_LENGTH = 16


class _Facts(BaseModel):
    """Enough to tell the right key, not to find it. *endorsement*: the hash of the successor, under this very key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    kek_id: str
    check: Base64
    successor: Base64 | None = None
    endorsement: Base64 | None = None

    def proves(self, kek: KeyEncryptionKey) -> bool:
        return kek.wrapped(self.check, check_value(self.kek_id))


class OfPassphrase(_Facts):
    """Argon2id with the second choice of RFC 9106, section 4. Bounded, lest a forged entry exhaust this process."""

    kind: Literal["passphrase"] = "passphrase"
    salt: Base64 = Field(min_length=_SALT_LENGTH)
    memory_kib: int = Field(default=64 * 1024, ge=19 * 1024, le=1024 * 1024)
    iterations: int = Field(default=3, ge=2, le=16)
    lanes: int = Field(default=4, ge=1, le=16)

    def derive(self, passphrase: Passphrase) -> bytes:
        kdf = Argon2id(
            salt=self.salt,
            length=KEY_LENGTH,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return kdf.derive(passphrase.text.encode())


class OfKeyFile(_Facts):
    kind: Literal["key-file"] = "key-file"


Facts = OfPassphrase | OfKeyFile
_FACTS: TypeAdapter[Facts] = TypeAdapter(Annotated[Facts, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one key-encryption key. Revision 0: so far only in the document of the one before it."""

    facts: Facts
    revision: int

    @property
    def key(self) -> str:
        return f"kek.{self.facts.kek_id}"


def invent(secret: Secret) -> tuple[Facts, KeyEncryptionKey]:
    """A new key-encryption key from *secret*. It takes as long as deriving one takes."""
    kek_id = str(new_id())
    facts: Facts
    match secret:
        case Passphrase():
            facts = OfPassphrase(kek_id=kek_id, check=b"", salt=os.urandom(_SALT_LENGTH))
            kek = KeyEncryptionKey(kek_id, facts.derive(secret))
        case KeyFile():
            facts = OfKeyFile(kek_id=kek_id, check=b"")
            kek = KeyEncryptionKey(kek_id, secret.key)
        case _:
            assert_never(secret)
    return facts.model_copy(update={"check": kek.wrap(check_value(kek_id))}), kek


async def told(bucket: KeyValue) -> dict[str, Told]:
    """All that *bucket* knows, by id. Raises Unusable for what cannot be read."""
    found: dict[str, Told] = {}
    async for document in bucket.all(ANY):
        facts = _read(bucket, document.key, document.value)
        found[facts.kek_id] = Told(facts, document.revision)
    for one in list(found.values()):
        if one.facts.successor is not None:
            facts = _read(bucket, one.key, one.facts.successor)
            found.setdefault(facts.kek_id, Told(facts, 0))
    return found


async def put(bucket: KeyValue, facts: Facts, unique: str | None = None) -> None:
    await bucket.put(f"kek.{facts.kek_id}", _write(facts), revision=0, unique=unique)


async def succeed(bucket: KeyValue, last: Told, kek: KeyEncryptionKey, successor: Facts) -> None:
    """Have *successor* follow *last*, whose key is *kek*. Raises Conflict when somebody else wrote there meanwhile."""
    content = _write(successor)
    endorsed = {"successor": content, "endorsement": kek.wrap(_digest(content))}
    await bucket.put(last.key, _write(last.facts.model_copy(update=endorsed)), last.revision)
    await put(bucket, successor)


def endorsed_by(last: Told, kek: KeyEncryptionKey) -> bool:
    """Whether the successor that *last* tells of was put there by somebody who had its key."""
    successor, endorsement = last.facts.successor, last.facts.endorsement
    return successor is not None and endorsement is not None and kek.wrapped(endorsement, _digest(successor))


async def put_sealed(bucket: KeyValue, keyring: Keyring, key: str, value: bytes) -> int:
    """Put what was just sealed with *keyring* at *key*, where there must be nothing; returns its revision.

    Raises Transient when the keyring's key was replaced meanwhile: nobody would wrap the entry again any more.
    """
    revision = await bucket.put(key, value, revision=0)
    document = await bucket.get(f"kek.{keyring.kek_id}")
    if document is None or _read(bucket, document.key, document.value).successor is not None:
        await bucket.erase(Document(key, value, revision))
        raise Transient(f"key-encryption key {keyring.kek_id} was replaced: restart this process with the new secret")
    return revision


async def count_under(bucket: KeyValue, kek_ids: Collection[str]) -> tuple[int, int]:
    """How many entries are sealed under one of *kek_ids*, and how many are sealed at all.

    Raises Conflict when the server that was asked lags behind: it must know that no more will come under these.
    """
    under = of_all = 0
    async for document in bucket.all():
        if document.key.startswith("kek."):
            facts = _read(bucket, document.key, document.value)
            if facts.kek_id in kek_ids and facts.successor is None:
                raise Conflict(f"{bucket.bucket} does not tell yet that {document.key} is followed by another")
        elif (wrapped := wrapping_of(document)) is not None:
            of_all += 1
            under += wrapped.kek_id in kek_ids
    return under, of_all


async def retire(bucket: KeyValue, kek_ids: Collection[str]) -> tuple[int, int]:
    """Erase what is told of *kek_ids* if nothing is sealed under them any more, in no revision; the counts else."""
    under, of_all = await count_under(bucket, kek_ids)
    if not under:
        await bucket.erase_overwritten()
        for kek_id in kek_ids:
            await bucket.erase_all(f"kek.{kek_id}")
    return under, of_all


class Wrapping(BaseModel):
    """What every sealed entry says; whatever else it says is left as it is when its data key is wrapped anew."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    kek_id: str
    wrapped_data_key: Base64


def wrapping_of(document: Document) -> Wrapping | None:
    try:
        return Wrapping.model_validate_json(document.value)
    except ValidationError:
        return None  # a tombstone, say, or nothing of ours


def check_value(kek_id: str) -> bytes:
    return b"cim-keys/kek-check/v1/" + kek_id.encode()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(b"cim-keys/kek-successor/v1/" + content).digest()


def _write(facts: Facts) -> bytes:
    return facts.model_dump_json(exclude_none=True).encode()


def _read(bucket: KeyValue, key: str, value: bytes) -> Facts:
    try:
        return _FACTS.validate_json(value)
    except ValidationError:
        raise Unusable(f"{bucket.bucket}/{key} is not readable: restore it") from None
