"""Events about keys. No message contains a private key in the clear."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from shared.contracts.base import Base64, Event, Fingerprint, Id, Pem, Text
from shared.contracts.key.commands import KeyMessage, SealedKey
from shared.contracts.key.value_types import (
    Algorithm,
    Derivation,
    OwnerKind,
    PrivateKeyFormat,
    Provenance,
    PublicKeyFormat,
    Purpose,
    SignatureAlgorithm,
)


class _KeyCreated(KeyMessage, Event):
    key_id: Id
    algorithm: Algorithm
    public_key_pem: Pem
    fingerprint_sha256: Fingerprint = Field(description="of the SubjectPublicKeyInfo's DER")
    purpose: Purpose
    provenance: Provenance
    exportable: bool
    owner: Text | None = None
    owner_kind: OwnerKind | None = None
    label: Text | None = None
    expires_at: AwareDatetime | None = None
    approvals: int = 0
    nkey: Text | None = Field(default=None, description="of NATS keys: the public key in the encoding of NATS")


class KeyGenerated(_KeyCreated):
    derivation: Derivation | None = Field(default=None, description="parameters for deriving the key again")


class KeyImported(_KeyCreated):
    pass


class KeyImportPrepared(KeyMessage, Event):
    key_id: Id
    recipient_public_key: Base64 = Field(description="X25519, raw")


class KeySigned(KeyMessage, Event):
    key_id: Id
    signature: Base64
    signature_algorithm: SignatureAlgorithm
    message_sha256: Fingerprint
    purpose: Purpose
    approved_by: tuple[str, ...] = ()


class KeyBatchSigned(KeyMessage, Event):
    key_id: Id
    signatures: tuple[Base64, ...] = Field(description="in the order of the command's messages")
    signature_algorithm: SignatureAlgorithm
    messages_sha256: tuple[Fingerprint, ...]
    purpose: Purpose


class AuthorityBound(KeyMessage, Event):
    key_id: Id
    certificate_pem: Pem
    fingerprint_sha256: Fingerprint = Field(description="of the certificate's DER")


class KeyExported(KeyMessage, Event):
    key_id: Id
    algorithm: Algorithm
    sealed_key: SealedKey
    recipient_public_key: Base64
    format: PrivateKeyFormat = PrivateKeyFormat.PKCS8


class PublicKeyExported(KeyMessage, Event):
    key_id: Id
    format: PublicKeyFormat
    public_key: str = Field(description="in that format; der in base64")


class KeyEscrowed(KeyMessage, Event):
    key_id: Id


class KeyRotated(KeyMessage, Event):
    key_id: Id
    successor_id: Id
    overlap_until: AwareDatetime
    reason: Text


class KeyRotationCompleted(KeyMessage, Event):
    key_id: Id
    successor_id: Id


class KeyRotationCancelled(KeyMessage, Event):
    key_id: Id
    reason: Text


class KeyExpired(KeyMessage, Event):
    key_id: Id


class KeyRevoked(KeyMessage, Event):
    key_id: Id
    reason: Text
    existed: bool = Field(default=True, description="false: the id was voided before a key used it")


class KeyArchived(KeyMessage, Event):
    key_id: Id


class KeyTransferred(KeyMessage, Event):
    key_id: Id
    from_owner: Text | None
    to_owner: Text
    to_owner_kind: OwnerKind


class KeyDestroyed(KeyMessage, Event):
    key_id: Id


KeyEvent = (
    KeyGenerated
    | KeyImported
    | KeyImportPrepared
    | KeySigned
    | KeyBatchSigned
    | AuthorityBound
    | KeyExported
    | PublicKeyExported
    | KeyEscrowed
    | KeyRotated
    | KeyRotationCompleted
    | KeyRotationCancelled
    | KeyExpired
    | KeyRevoked
    | KeyArchived
    | KeyTransferred
    | KeyDestroyed
)
