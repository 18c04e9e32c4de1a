"""What a key can be, what the core may ask of the world, and what it can hear back: nothing here but data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from shared.contracts.key import Algorithm, KeyEvent, Purpose, SignatureAlgorithm
from shared.decider import Perform, Refused, Stands


# -- states --------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Unborn:
    kind: Literal["unborn"] = "unborn"


@dataclass(frozen=True, slots=True)
class Active:
    """*exported*: it lives on elsewhere too, so the copy here may go."""

    algorithm: Algorithm
    purpose: Purpose
    exportable: bool
    exported: bool = False
    kind: Literal["active"] = "active"


@dataclass(frozen=True, slots=True)
class Escrowed:
    """Kept for recovery only; it was exported before, or it would not be here."""

    algorithm: Algorithm
    purpose: Purpose
    kind: Literal["escrowed"] = "escrowed"


@dataclass(frozen=True, slots=True)
class Revoked:
    """*existed* is false for an id that was voided before any key had it."""

    existed: bool = True
    kind: Literal["revoked"] = "revoked"


@dataclass(frozen=True, slots=True)
class Destroyed:
    kind: Literal["destroyed"] = "destroyed"


Key = Unborn | Active | Escrowed | Revoked | Destroyed

FITTING: dict[Algorithm, tuple[SignatureAlgorithm, ...]] = {
    Algorithm.RSA_2048: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_3072: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_4096: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.EC_P256: (SignatureAlgorithm.ECDSA_SHA256,),
    Algorithm.EC_P384: (SignatureAlgorithm.ECDSA_SHA384, SignatureAlgorithm.ECDSA_SHA256),
    Algorithm.ED25519: (SignatureAlgorithm.ED25519,),
    Algorithm.X25519: (),
}
"""The signature algorithms that each kind of key can make, the usual one first."""


# -- effects and their outcomes ------------------------------------------------
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
class NotACertificate:
    request: Sign
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

    request: CreateKeyPair | Sign | SealKey


@dataclass(frozen=True, slots=True)
class KeyOutOfReach:
    """The private key should be there, and cannot be had: an operator must see to it."""

    request: CreateKeyPair | Sign | SealKey
    reason: str


Effect = CreateKeyPair | Sign | SealKey | Shred
Outcome = (
    KeyPairCreated
    | KeyPairDiffers
    | Signed
    | NotACertificate
    | KeySealed
    | RecipientUnfit
    | Shredded
    | KeyGone
    | KeyOutOfReach
)
Answer = KeyEvent | Refused | Stands | Perform[Effect]
