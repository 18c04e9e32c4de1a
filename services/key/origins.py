"""The ways in which a key comes to be here: what is asked of the keystore for each, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.contracts.key.value_types import Algorithm, Derivation, OwnerKind, Purpose


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be, however it comes to be."""

    key_id: str
    algorithm: Algorithm
    purpose: Purpose
    exportable: bool = False
    owner: str | None = None
    label: str | None = None
    owner_kind: OwnerKind | None = None
    expires_at: datetime | None = None
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class CreateKeyPair(NewKey):
    pass


@dataclass(frozen=True, slots=True)
class PrepareRecipient:
    key_id: str


@dataclass(frozen=True, slots=True)
class TakeOver(NewKey):
    """Import: *sealed_key* is for the key that was prepared for the id."""

    sealed_key: bytes = field(default=b"", repr=False)
    public_key_pem: str = ""
    proof: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeriveKeyPair(NewKey):
    sealed_passphrase: bytes = field(default=b"", repr=False)
    organization: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class KeyPairCreated:
    request: CreateKeyPair
    public_key_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class KeyPairDiffers:
    """The id has a key pair already, of another kind: another command's, that is not told of yet."""

    request: NewKey
    algorithm: Algorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class RecipientPrepared:
    request: PrepareRecipient
    recipient_public_key: bytes


@dataclass(frozen=True, slots=True)
class TakenOver:
    request: TakeOver
    public_key_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class KeyPairDerived:
    request: DeriveKeyPair
    public_key_pem: str
    fingerprint_sha256: str
    derivation: Derivation


@dataclass(frozen=True, slots=True)
class NotTakenOver:
    """What came sealed is not what it should be. *reason* has no word of its content."""

    request: TakeOver | DeriveKeyPair
    reason: str


@dataclass(frozen=True, slots=True)
class AnotherCameFirst:
    """Another command's key came to be under this id, and is not told of yet."""

    request: TakeOver | DeriveKeyPair


Came = (
    KeyPairCreated | KeyPairDiffers | RecipientPrepared | TakenOver | KeyPairDerived | NotTakenOver | AnotherCameFirst
)
