"""Commands about keys. No message contains a private key in the clear."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.base import DERIVED, Base64, Command, Id, Message, Name, Pem, Text
from shared.contracts.key.value_types import (
    Algorithm,
    Approval,
    DerivationPath,
    OwnerKind,
    PrivateKeyFormat,
    PublicKeyFormat,
    Purpose,
    SignatureAlgorithm,
)

SealedKey = Annotated[
    Base64, Field(description="HPKE(X25519, HKDF-SHA256, AES-256-GCM): encapsulated key, then ciphertext")
]
ToSign = Annotated[
    Base64, Field(min_length=1, max_length=524_288, description="the bytes to sign, not a digest of them")
]
Approvals = Annotated[
    int, Field(ge=0, le=9, description="number of people who must approve each signature, by the hash of the message")
]
NewPurpose = Annotated[Purpose | None, Field(description="default: key-management for x25519, else digital-signature")]


class KeyMessage(Message):
    aggregate_type: ClassVar[str] = "key"
    identified_by: ClassVar[str] = "key_id"


class _NewKey(KeyMessage, Command):
    """Fields of every command that creates a key."""

    key_id: Id = DERIVED
    algorithm: Algorithm
    purpose: NewPurpose = None
    exportable: bool = Field(default=False, description="true: it may be exported, sealed to another service")
    owner: Text | None = None
    owner_kind: OwnerKind | None = None
    label: Text | None = None
    expires_at: AwareDatetime | None = Field(default=None, description="from then on it cannot sign")
    approvals: Approvals = 0


class GenerateKey(_NewKey):
    """Generate a key pair; the private key stays in the key service."""


class PrepareKeyImport(KeyMessage, Command):
    """Generate a one-time public key, to which the private key or passphrase for this id is sealed."""

    key_id: Id = DERIVED


class ImportKey(_NewKey):
    """Import a private key (PKCS#8, DER), sealed to the key that `prepare-import` returned."""

    key_id: Id
    sealed_key: SealedKey
    public_key_pem: Pem
    proof: Base64 | None = Field(
        default=None,
        description="signature over import_proof(key_id, recipient key); may be absent for key agreement keys only",
    )


class DeriveKey(_NewKey):
    """Derive a key from an organisation's passphrase and a path. The passphrase is not stored."""

    key_id: Id
    sealed_passphrase: SealedKey
    organization: Name
    path: DerivationPath


class SignWithKey(KeyMessage, Command):
    """Sign one message, which the custodian parses first."""

    max_body_bytes: ClassVar[int] = 786_432  # a CRL of some ten thousand entries, in base64

    key_id: Id
    message: ToSign
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose
    approvals: Annotated[tuple[Approval, ...], Field(max_length=32)] = ()


class SignBatch(KeyMessage, Command):
    """Sign many small messages, such as OCSP responses. A certificate-signing key signs one message per command."""

    key_id: Id
    messages: Annotated[tuple[Base64, ...], Field(min_length=1, max_length=256)]
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


class BindAuthority(KeyMessage, Command):
    """Bind a certificate-signing key to its CA certificate, if the issuer's key is not in custody."""

    key_id: Id
    certificate_pem: Pem


class ExportKey(KeyMessage, Command):
    """Seal the private key to a recipient (HPKE, RFC 9180)."""

    key_id: Id
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")
    format: PrivateKeyFormat = PrivateKeyFormat.PKCS8
    certificates_pem: Annotated[tuple[Pem, ...], Field(max_length=8)] = Field(
        default=(), description="for pkcs12: the key's certificate, then its chain"
    )


class ExportPublicKey(KeyMessage, Command):
    """Publish the public key in another format."""

    key_id: Id
    format: PublicKeyFormat = PublicKeyFormat.PEM


class EscrowKey(KeyMessage, Command):
    """Keep the copy of an exported key for recovery only: it cannot sign any more."""

    key_id: Id


class RotateKey(KeyMessage, Command):
    """Name the successor of this key; both are valid until the overlap ends."""

    key_id: Id
    successor_id: Id
    overlap_days: int = Field(default=0, ge=0, le=3650)
    reason: Text = "rotated"


class CompleteRotation(KeyMessage, Command):
    """End the overlap: the old key cannot sign any more."""

    key_id: Id


class CancelRotation(KeyMessage, Command):
    """Cancel the rotation: the old key stays in use."""

    key_id: Id
    reason: Text = "cancelled"


class ExpireKey(KeyMessage, Command):
    """Record that the key has reached its expiry time."""

    key_id: Id


class RevokeKey(KeyMessage, Command):
    """Revoke the key: it cannot sign any more."""

    key_id: Id
    reason: Text = "unspecified"
    void_if_absent: bool = Field(
        default=False,
        description="if no such key exists, void the id so that none can be created; compensation uses it",
    )


class ArchiveKey(KeyMessage, Command):
    """Archive a key that is no longer used: it can only be destroyed."""

    key_id: Id


class TransferKey(KeyMessage, Command):
    """Transfer a key to another owner; a person's own key cannot be transferred."""

    key_id: Id
    owner: Text
    owner_kind: OwnerKind


class DestroyKey(KeyMessage, Command):
    """Erase the private key: its data key is overwritten in every revision of KEYS_SECRETS."""

    key_id: Id


KeyCommand = (
    GenerateKey
    | PrepareKeyImport
    | ImportKey
    | DeriveKey
    | SignWithKey
    | SignBatch
    | BindAuthority
    | ExportKey
    | ExportPublicKey
    | EscrowKey
    | RotateKey
    | CompleteRotation
    | CancelRotation
    | ExpireKey
    | RevokeKey
    | ArchiveKey
    | TransferKey
    | DestroyKey
)
