"""Effects of the key aggregate, and the results that the performer returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from services.key.states import Key
from shared.contracts.key.commands import ExportPublicKey, RotateKey
from shared.contracts.key.events import KeyEvent
from shared.contracts.key.value_types import (
    Algorithm,
    Derivation,
    OwnerKind,
    PrivateKeyFormat,
    Purpose,
    SignatureAlgorithm,
)
from shared.decider import AlreadyDone, Perform, Rejection

# -- new keys ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """The attributes of a key to be created, imported or derived."""

    key_id: str
    algorithm: Algorithm
    purpose: Purpose
    exportable: bool = False
    owner: str | None = None
    label: str | None = None
    owner_kind: OwnerKind | None = None
    expires_at: datetime | None = None
    approvals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKeyPair(NewKey):
    """Generate a key pair in custody."""


@dataclass(frozen=True, slots=True)
class PrepareRecipient:
    """Create the one-time key pair to which an imported key or a passphrase is sealed."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportKeyPair(NewKey):
    """Open *sealed_key*, which is sealed to the one-time key of this id, and store it.

    The order of the fields is part of the stored digest of a request (docs/adr/0011).
    """

    sealed_key: bytes = field(default=b"", repr=False)
    public_key_pem: str = ""
    proof: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveKeyPair(NewKey):
    """Derive a key from a sealed passphrase (docs/adr/0011). The order of the fields is part of the stored digest."""

    sealed_passphrase: bytes = field(default=b"", repr=False)
    organization: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class KeyPairCreated:
    request: CreateKeyPair
    public_key_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class KeyIdTaken:
    """The id has a key pair of another kind, whose event is not in the log yet."""

    request: NewKey
    algorithm: Algorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class RecipientPrepared:
    request: PrepareRecipient
    recipient_public_key: bytes


@dataclass(frozen=True, slots=True)
class KeyPairImported:
    request: ImportKeyPair
    public_key_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPairDerived:
    request: DeriveKeyPair
    public_key_pem: str
    fingerprint_sha256: str
    derivation: Derivation


@dataclass(frozen=True, slots=True)
class ImportFailed:
    """The sealed content contradicts the command. *reason* contains no part of the content."""

    request: ImportKeyPair | DeriveKeyPair
    reason: str


@dataclass(frozen=True, slots=True)
class ConcurrentKeyPair:
    """Another command stored a key under this id first; its event is not in the log yet."""

    request: ImportKeyPair | DeriveKeyPair


# -- use of a private key ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    key_id: str
    message: bytes
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignMessages:
    key_id: str
    messages: tuple[bytes, ...]
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPrivateKey:
    """Encrypt the private key to a recipient (HPKE, RFC 9180)."""

    key_id: str
    recipient_public_key: bytes
    format: PrivateKeyFormat = PrivateKeyFormat.PKCS8
    certificates_pem: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BindCertificate:
    """Register a CA certificate of the key, after checking it (docs/adr/0012)."""

    key_id: str
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class AlgorithmDisabled:
    """The settings of this key service do not allow the algorithm."""

    request: CreateKeyPair | ImportKeyPair | DeriveKeyPair | Sign | SignMessages
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Signed:
    request: Sign
    signature: bytes


@dataclass(frozen=True, slots=True)
class BatchSigned:
    request: SignMessages
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SigningDenied:
    """The custodian parsed the message and rejects it for a key of this purpose."""

    request: Sign | SignMessages
    purpose: Purpose
    reason: str


@dataclass(frozen=True, slots=True)
class PrivateKeySealed:
    request: SealPrivateKey
    sealed_key: bytes = field(repr=False)
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class RecipientInvalid:
    request: SealPrivateKey


@dataclass(frozen=True, slots=True)
class CertificatesInvalid:
    """The certificates of an export are not certificates of the key."""

    request: SealPrivateKey
    reason: str


@dataclass(frozen=True, slots=True)
class CaCertificateRegistered:
    request: BindCertificate
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class CaCertificateInvalid:
    """The certificate is not a CA certificate of the key."""

    request: BindCertificate
    reason: str


@dataclass(frozen=True, slots=True)
class PrivateKeyDestroyed:
    """The private key was destroyed; its id is never used again."""

    request: PrivateKeyEffect


@dataclass(frozen=True, slots=True)
class PrivateKeyUnavailable:
    """The private key should be in KEYS_SECRETS and cannot be read; an operator has to act."""

    request: PrivateKeyEffect
    reason: str


# -- everything else --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErasePrivateKey:
    key_id: str


@dataclass(frozen=True, slots=True)
class PrivateKeyErased:
    request: ErasePrivateKey


@dataclass(frozen=True, slots=True)
class FetchSuccessor:
    """Read the current state of the key that a rotation names."""

    request: RotateKey


@dataclass(frozen=True, slots=True)
class SuccessorFetched:
    request: RotateKey
    successor: Key


@dataclass(frozen=True, slots=True)
class FormatPublicKey:
    request: ExportPublicKey
    public_key_pem: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class PublicKeyFormatted:
    request: ExportPublicKey
    public_key: str


PrivateKeyEffect = (
    CreateKeyPair
    | ImportKeyPair
    | DeriveKeyPair
    | PrepareRecipient
    | Sign
    | SignMessages
    | SealPrivateKey
    | BindCertificate
)
KeystoreEffect = PrivateKeyEffect | ErasePrivateKey
"""The effects that touch a private key; the keystore performs them."""

Effect = KeystoreEffect | FetchSuccessor | FormatPublicKey

NewKeyResult = (
    KeyPairCreated
    | KeyIdTaken
    | RecipientPrepared
    | KeyPairImported
    | KeyPairDerived
    | ImportFailed
    | ConcurrentKeyPair
)
EffectResult = (
    NewKeyResult
    | AlgorithmDisabled
    | Signed
    | BatchSigned
    | SigningDenied
    | PrivateKeySealed
    | RecipientInvalid
    | CertificatesInvalid
    | CaCertificateRegistered
    | CaCertificateInvalid
    | PrivateKeyErased
    | PublicKeyFormatted
    | PrivateKeyDestroyed
    | PrivateKeyUnavailable
)
"""The results that lead to an event or a rejection without a further effect."""

Outcome = EffectResult | SuccessorFetched
Decision = KeyEvent | Rejection | AlreadyDone | Perform[Effect]
