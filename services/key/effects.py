"""What the core may ask of the world, and what it can hear back."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.key.origins import (
    AnotherCameFirst,
    CreateKeyPair,
    DeriveKeyPair,
    KeyPairCreated,
    KeyPairDerived,
    KeyPairDiffers,
    NotTakenOver,
    PrepareRecipient,
    RecipientPrepared,
    TakenOver,
    TakeOver,
)
from services.key.states import Key
from shared.contracts.key.commands import ExportPublicKey, RotateKey
from shared.contracts.key.events import KeyEvent
from shared.contracts.key.value_types import Algorithm, PrivateKeyFormat, Purpose, SignatureAlgorithm
from shared.decider import AlreadyDone, Perform, Rejection


@dataclass(frozen=True, slots=True)
class Sign:
    key_id: str
    message: bytes
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignMany:
    key_id: str
    messages: tuple[bytes, ...]
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class SealKey:
    key_id: str
    recipient_public_key: bytes
    format: PrivateKeyFormat = PrivateKeyFormat.PKCS8
    certificates_pem: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BindCertificate:
    key_id: str
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class Shred:
    key_id: str


@dataclass(frozen=True, slots=True)
class FetchSuccessor:
    request: RotateKey


@dataclass(frozen=True, slots=True)
class WritePublicKey:
    request: ExportPublicKey
    public_key_pem: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class AlgorithmDisabled:
    """This key service was not told to allow the algorithm."""

    request: CreateKeyPair | TakeOver | DeriveKeyPair | Sign | SignMany
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Signed:
    request: Sign
    signature: bytes


@dataclass(frozen=True, slots=True)
class ManySigned:
    request: SignMany
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NotToBeSigned:
    """The custodian has read it, and a key of this purpose is not for it; the reason says why."""

    request: Sign | SignMany
    purpose: Purpose
    reason: str


@dataclass(frozen=True, slots=True)
class KeySealed:
    request: SealKey
    sealed_key: bytes = field(repr=False)
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class RecipientUnfit:
    request: SealKey


@dataclass(frozen=True, slots=True)
class AuthorityNoted:
    request: BindCertificate
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class NotAnAuthority:
    """The certificate makes no authority of the key; the reason says why."""

    request: BindCertificate
    reason: str


@dataclass(frozen=True, slots=True)
class CertificatesUnfit:
    """What was sent along is not the certificate of the key."""

    request: SealKey
    reason: str


@dataclass(frozen=True, slots=True)
class Shredded:
    request: Shred


@dataclass(frozen=True, slots=True)
class SuccessorFetched:
    request: RotateKey
    successor: Key


@dataclass(frozen=True, slots=True)
class PublicKeyWritten:
    request: ExportPublicKey
    public_key: str


@dataclass(frozen=True, slots=True)
class KeyGone:
    """The private key was destroyed, and its id with it."""

    request: Use


@dataclass(frozen=True, slots=True)
class KeyOutOfReach:
    """The private key should be there, and cannot be had: an operator must see to it."""

    request: Use
    reason: str


Use = CreateKeyPair | TakeOver | DeriveKeyPair | PrepareRecipient | Sign | SignMany | SealKey | BindCertificate
CustodyEffect = Use | Shred
"""What touches a private key: the keystore performs these."""

Effect = CustodyEffect | FetchSuccessor | WritePublicKey
Final = (
    KeyPairCreated
    | KeyPairDiffers
    | RecipientPrepared
    | TakenOver
    | KeyPairDerived
    | NotTakenOver
    | AnotherCameFirst
    | AlgorithmDisabled
    | Signed
    | ManySigned
    | NotToBeSigned
    | KeySealed
    | RecipientUnfit
    | AuthorityNoted
    | NotAnAuthority
    | CertificatesUnfit
    | Shredded
    | PublicKeyWritten
    | KeyGone
    | KeyOutOfReach
)
Outcome = Final | SuccessorFetched
Answer = KeyEvent | Rejection | AlreadyDone | Perform[Effect]
