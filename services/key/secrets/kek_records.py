"""Records of key-encryption keys (KEKs) in KEYS_SECRETS, and their succession (docs/adr/0010).

The successor of a KEK is written into the KEK's own record by compare-and-set, so that there is one. A writer that
seals an entry checks afterwards that its KEK still has no successor.
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
    """Identifies a KEK without revealing it. *endorsement*: the hash of the successor, wrapped under this KEK."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    kek_id: str
    check: Base64
    successor: Base64 | None = None
    endorsement: Base64 | None = None

    def proves(self, kek: KeyEncryptionKey) -> bool:
        return kek.is_wrapped(self.check, check_plaintext(self.kek_id))


class PassphraseKek(_Facts):
    """Argon2id, second option of RFC 9106, section 4. The bounds stop a forged record from exhausting memory."""

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


class KeyFileKek(_Facts):
    kind: Literal["key-file"] = "key-file"


Facts = PassphraseKek | KeyFileKek
_FACTS: TypeAdapter[Facts] = TypeAdapter(Annotated[Facts, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class KekRecord:
    """One KEK record. Revision 0: it has no entry yet, only a copy in its predecessor's record."""

    facts: Facts
    revision: int

    @property
    def key(self) -> str:
        return f"kek.{self.facts.kek_id}"


def create_kek(secret: Secret) -> tuple[Facts, KeyEncryptionKey]:
    """Creates a KEK from *secret*. Blocks for as long as Argon2id takes."""
    kek_id = str(new_id())
    facts: Facts
    match secret:
        case Passphrase():
            facts = PassphraseKek(kek_id=kek_id, check=b"", salt=os.urandom(_SALT_LENGTH))
            kek = KeyEncryptionKey(kek_id, facts.derive(secret))
        case KeyFile():
            facts = KeyFileKek(kek_id=kek_id, check=b"")
            kek = KeyEncryptionKey(kek_id, secret.key)
        case _:
            assert_never(secret)
    return facts.model_copy(update={"check": kek.wrap(check_plaintext(kek_id))}), kek


async def read_records(bucket: KeyValue) -> dict[str, KekRecord]:
    """Reads all records of *bucket* by KEK id. Raises Unusable for an unreadable one."""
    found: dict[str, KekRecord] = {}
    async for document in bucket.all(ANY):
        facts = _read(bucket, document.key, document.value)
        found[facts.kek_id] = KekRecord(facts, document.revision)
    for record in list(found.values()):
        if record.facts.successor is not None:
            facts = _read(bucket, record.key, record.facts.successor)
            found.setdefault(facts.kek_id, KekRecord(facts, 0))
    return found


async def put_record(bucket: KeyValue, facts: Facts, unique: str | None = None) -> None:
    await bucket.put(f"kek.{facts.kek_id}", _write(facts), revision=0, unique=unique)


async def record_successor(bucket: KeyValue, last: KekRecord, kek: KeyEncryptionKey, successor: Facts) -> None:
    """Makes *successor* the successor of *last*, whose KEK is *kek*. Raises Conflict if the record changed."""
    content = _write(successor)
    endorsed = {"successor": content, "endorsement": kek.wrap(_digest(content))}
    await bucket.put(last.key, _write(last.facts.model_copy(update=endorsed)), last.revision)
    await put_record(bucket, successor)


def is_endorsed(last: KekRecord, kek: KeyEncryptionKey) -> bool:
    """Tells whether a holder of *kek* recorded the successor in *last*."""
    successor, endorsement = last.facts.successor, last.facts.endorsement
    return successor is not None and endorsement is not None and kek.is_wrapped(endorsement, _digest(successor))


async def put_sealed(bucket: KeyValue, keyring: Keyring, key: str, value: bytes) -> int:
    """Creates an entry sealed with *keyring* at *key* and returns its revision.

    Raises Transient when the current KEK has been replaced: no process would rewrap the entry.
    """
    revision = await bucket.put(key, value, revision=0)
    document = await bucket.get(f"kek.{keyring.kek_id}")
    if document is None or _read(bucket, document.key, document.value).successor is not None:
        await bucket.erase(Document(key, value, revision))
        raise Transient(f"key-encryption key {keyring.kek_id} was replaced: restart this process with the new secret")
    return revision


async def count_sealed_under(bucket: KeyValue, kek_ids: Collection[str]) -> tuple[int, int]:
    """Counts the entries sealed under one of *kek_ids*, and all sealed entries.

    Raises Conflict if the reading replica lags, and does not have the successor of each of these KEKs yet.
    """
    under = total = 0
    async for document in bucket.all():
        if document.key.startswith("kek."):
            facts = _read(bucket, document.key, document.value)
            if facts.kek_id in kek_ids and facts.successor is None:
                raise Conflict(f"{bucket.bucket} has a replica on which {document.key} has no successor yet")
        elif (wrapped := wrapping_of(document)) is not None:
            total += 1
            under += wrapped.kek_id in kek_ids
    return under, total


async def retire(bucket: KeyValue, kek_ids: Collection[str]) -> tuple[int, int]:
    """Erases the records of *kek_ids* if no revision of any entry is sealed under them. Returns the counts."""
    under, total = await count_sealed_under(bucket, kek_ids)
    if not under:
        await bucket.erase_overwritten()
        for kek_id in kek_ids:
            await bucket.erase_all(f"kek.{kek_id}")
    return under, total


class Wrapping(BaseModel):
    """The fields that all sealed entries share; rewrapping keeps all other fields as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    kek_id: str
    wrapped_data_key: Base64


def wrapping_of(document: Document) -> Wrapping | None:
    try:
        return Wrapping.model_validate_json(document.value)
    except ValidationError:
        return None  # a tombstone, or a document of another kind


def check_plaintext(kek_id: str) -> bytes:
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
