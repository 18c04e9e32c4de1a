"""What the key service can be asked for. No message here ever holds a private key in the clear."""

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
    int, Field(ge=0, le=9, description="how many people must approve each thing that it signs, by that thing's hash")
]
NewPurpose = Annotated[Purpose | None, Field(description="default: key-management for x25519, else digital-signature")]


class KeyMessage(Message):
    aggregate_type: ClassVar[str] = "key"
    identified_by: ClassVar[str] = "key_id"


class _NewKey(KeyMessage, Command):
    """What is said of any key that comes to be here."""

    key_id: Id = DERIVED
    algorithm: Algorithm
    purpose: NewPurpose = None
    exportable: bool = Field(default=False, description="whether it may ever leave, sealed to another service")
    owner: Text | None = None
    owner_kind: OwnerKind | None = None
    label: Text | None = None
    expires_at: AwareDatetime | None = Field(default=None, description="from then on it signs nothing")
    approvals: Approvals = 0


class GenerateKey(_NewKey):
    """Make a key pair; its private half stays here."""


class PrepareKeyImport(KeyMessage, Command):
    """Make a public key to which what is imported or derived under this id is sealed; it serves once."""

    key_id: Id = DERIVED


class ImportKey(_NewKey):
    """Take over a private key (PKCS#8, DER) made elsewhere, sealed to the key that `prepare-import` told of."""

    key_id: Id
    sealed_key: SealedKey
    public_key_pem: Pem
    proof: Base64 | None = Field(
        default=None, description="signature over import_proof(key_id, recipient key); none only of a key that agrees"
    )


class DeriveKey(_NewKey):
    """Make the key that an organisation's passphrase, and this path, always lead to. The passphrase is not kept."""

    key_id: Id
    sealed_passphrase: SealedKey
    organization: Name
    path: DerivationPath


class SignWithKey(KeyMessage, Command):
    max_body_bytes: ClassVar[int] = 786_432  # a CRL of some ten thousand entries, in base64

    key_id: Id
    message: ToSign
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose
    approvals: Annotated[tuple[Approval, ...], Field(max_length=32)] = ()


class SignBatch(KeyMessage, Command):
    """Sign many small things at once: status answers. A certificate-signing key signs one thing at a time."""

    key_id: Id
    messages: Annotated[tuple[Base64, ...], Field(min_length=1, max_length=256)]
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


class BindAuthority(KeyMessage, Command):
    """Tell a certificate-signing key for which certificate it signs, where its issuer's key is not kept here."""

    key_id: Id
    certificate_pem: Pem


class ExportKey(KeyMessage, Command):
    """Seal the private key to a service that must have it: HPKE, RFC 9180."""

    key_id: Id
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")
    format: PrivateKeyFormat = PrivateKeyFormat.PKCS8
    certificates_pem: Annotated[tuple[Pem, ...], Field(max_length=8)] = Field(
        default=(), description="for pkcs12: the key's certificate, then those that lead to its root"
    )


class ExportPublicKey(KeyMessage, Command):
    key_id: Id
    format: PublicKeyFormat = PublicKeyFormat.PEM


class EscrowKey(KeyMessage, Command):
    """Keep the software copy of an exported key for recovery only: it signs nothing any more."""

    key_id: Id


class RotateKey(KeyMessage, Command):
    """Name the key that takes this one's place; until the overlap has passed, both are good."""

    key_id: Id
    successor_id: Id
    overlap_days: int = Field(default=0, ge=0, le=3650)
    reason: Text = "rotated"


class CompleteRotation(KeyMessage, Command):
    """The overlap has passed: the old key signs nothing more."""

    key_id: Id


class CancelRotation(KeyMessage, Command):
    """The old key stays in use."""

    key_id: Id
    reason: Text = "cancelled"


class ExpireKey(KeyMessage, Command):
    """The time that was set for it has come."""

    key_id: Id


class RevokeKey(KeyMessage, Command):
    key_id: Id
    reason: Text = "unspecified"
    void_if_absent: bool = Field(
        default=False, description="where there is no such key, make sure that there never will be: how a saga undoes"
    )


class ArchiveKey(KeyMessage, Command):
    """Put away what is no longer used: only destroying it is left."""

    key_id: Id


class TransferKey(KeyMessage, Command):
    """Give a key that is no person's own to another owner."""

    key_id: Id
    owner: Text
    owner_kind: OwnerKind


class DestroyKey(KeyMessage, Command):
    """Crypto-shred the private key: its data key is erased from every revision of KEYS_SECRETS."""

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
