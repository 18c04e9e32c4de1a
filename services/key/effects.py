"""What the core may ask of the world, and what it can hear back."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.contracts.key_events import KeyEvent
from shared.contracts.keying import Algorithm, Purpose, SignatureAlgorithm
from shared.decider import Perform, Refused, Stands


@dataclass(frozen=True, slots=True)
class CreateKeyPair:
    key_id: str
    algorithm: Algorithm
    purpose: Purpose
    exportable: bool
    owner: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Sign:
    key_id: str
    message: bytes
    signature_algorithm: SignatureAlgorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class BindCertificate:
    key_id: str
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class SealKey:
    key_id: str
    recipient_public_key: bytes


@dataclass(frozen=True, slots=True)
class Shred:
    key_id: str


@dataclass(frozen=True, slots=True)
class KeyPairCreated:
    request: CreateKeyPair
    public_key_pem: str
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class KeyPairDiffers:
    """The id has a key pair already, of another kind: another command's, that is not told of yet."""

    request: CreateKeyPair
    algorithm: Algorithm
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Signed:
    request: Sign
    signature: bytes


@dataclass(frozen=True, slots=True)
class NotToBeSigned:
    """The custodian has read it, and a key of this purpose is not for it; the reason says why."""

    request: Sign
    purpose: Purpose
    reason: str


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
class KeySealed:
    request: SealKey
    sealed_key: bytes = field(repr=False)
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class RecipientUnfit:
    request: SealKey


@dataclass(frozen=True, slots=True)
class Shredded:
    request: Shred


@dataclass(frozen=True, slots=True)
class KeyGone:
    """The private key was destroyed, and its id with it."""

    request: CreateKeyPair | Sign | BindCertificate | SealKey


@dataclass(frozen=True, slots=True)
class KeyOutOfReach:
    """The private key should be there, and cannot be had: an operator must see to it."""

    request: CreateKeyPair | Sign | BindCertificate | SealKey
    reason: str


Effect = CreateKeyPair | Sign | BindCertificate | SealKey | Shred
Outcome = (
    KeyPairCreated
    | KeyPairDiffers
    | Signed
    | NotToBeSigned
    | AuthorityNoted
    | NotAnAuthority
    | KeySealed
    | RecipientUnfit
    | Shredded
    | KeyGone
    | KeyOutOfReach
)
Answer = KeyEvent | Refused | Stands | Perform[Effect]
