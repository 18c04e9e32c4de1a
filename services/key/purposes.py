"""What a key of each purpose may be and do: one table, and nothing of it is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm

_RSA = (Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096)
_EC = (Algorithm.EC_P256, Algorithm.EC_P384)
_CLASSICAL = (*_RSA, *_EC, Algorithm.ED25519)
_SIGNING = (*_CLASSICAL, Algorithm.ML_DSA_65)


@dataclass(frozen=True, slots=True)
class Rules:
    """*batches*: many things by one command. *approvable*: people may have to approve each thing that it signs."""

    algorithms: tuple[Algorithm, ...]
    signs: bool = True
    batches: bool = False
    exportable: bool = False
    escrowable: bool = False
    approvable: bool = False
    nkey: bool = False


_NKEY_OF_AUTHORITY = Rules((Algorithm.ED25519,), exportable=True, approvable=True, nkey=True)
_NKEY = Rules((Algorithm.ED25519,), exportable=True, nkey=True)

RULES: dict[Purpose, Rules] = {
    # An authority's key never leaves, so that nothing is issued that the log does not know of.
    Purpose.CERTIFICATE_SIGNING: Rules(_SIGNING, approvable=True),
    Purpose.SSH_CERTIFICATE_SIGNING: Rules(_CLASSICAL, approvable=True),  # OpenSSH knows no ML-DSA
    # Status answers are signed in batches and by the clock: nobody could approve each of them.
    Purpose.OCSP_SIGNING: Rules(_SIGNING, batches=True),
    Purpose.AUTHENTICATION: Rules(_SIGNING, exportable=True),
    Purpose.CARD_AUTHENTICATION: Rules(_SIGNING, exportable=True),
    Purpose.DIGITAL_SIGNATURE: Rules(_SIGNING, exportable=True, approvable=True),
    # It decrypts or agrees. Only such keys are escrowed: nobody else may hold a key that signs in somebody's name.
    Purpose.KEY_MANAGEMENT: Rules((*_RSA, *_EC, Algorithm.X25519), signs=False, exportable=True, escrowable=True),
    # NATS servers and clients hold their seeds themselves; operators and accounts sign JWTs.
    Purpose.NATS_OPERATOR: _NKEY_OF_AUTHORITY,
    Purpose.NATS_ACCOUNT: _NKEY_OF_AUTHORITY,
    Purpose.NATS_USER: _NKEY,
    Purpose.NATS_SERVER: _NKEY,
}

FITTING: dict[Algorithm, tuple[SignatureAlgorithm, ...]] = {
    Algorithm.RSA_2048: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_3072: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_4096: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.EC_P256: (SignatureAlgorithm.ECDSA_SHA256,),
    Algorithm.EC_P384: (SignatureAlgorithm.ECDSA_SHA384, SignatureAlgorithm.ECDSA_SHA256),
    Algorithm.ED25519: (SignatureAlgorithm.ED25519,),
    Algorithm.X25519: (),
    Algorithm.ML_DSA_65: (SignatureAlgorithm.ML_DSA_65,),
}
"""The signature algorithms that each kind of key can make, the usual one first."""


def usual_purpose(algorithm: Algorithm) -> Purpose:
    """An x25519 key derives shared secrets and can do nothing else (RFC 7748)."""
    return Purpose.KEY_MANAGEMENT if algorithm is Algorithm.X25519 else Purpose.DIGITAL_SIGNATURE
