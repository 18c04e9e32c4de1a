"""What a key can be: Unborn, Active, Escrowed, Revoked, Destroyed. Snapshots are these as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.contracts.keying import Algorithm, Purpose, SignatureAlgorithm


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
