"""The rules of each key purpose: allowed algorithms, export, escrow, batches and approvals."""

from __future__ import annotations

from dataclasses import dataclass

from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm

_RSA = (Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096)
_EC = (Algorithm.EC_P256, Algorithm.EC_P384)
_CLASSICAL = (*_RSA, *_EC, Algorithm.ED25519)
_SIGNING = (*_CLASSICAL, Algorithm.ML_DSA_65)


@dataclass(frozen=True, slots=True)
class PurposeRules:
    """The rules of a purpose. *batches*: one command may sign many messages. *approvable*: a key may need approvals."""

    algorithms: tuple[Algorithm, ...]
    signs: bool = True
    batches: bool = False
    exportable: bool = False
    escrowable: bool = False
    approvable: bool = False
    nkey: bool = False


_SIGNING_NKEY = PurposeRules((Algorithm.ED25519,), exportable=True, approvable=True, nkey=True)
_NKEY = PurposeRules((Algorithm.ED25519,), exportable=True, nkey=True)

PURPOSE_RULES: dict[Purpose, PurposeRules] = {
    # A CA key is never exported: every certificate it signs is in the log.
    Purpose.CERTIFICATE_SIGNING: PurposeRules(_SIGNING, approvable=True),
    Purpose.SSH_CERTIFICATE_SIGNING: PurposeRules(_CLASSICAL, approvable=True),  # OpenSSH does not support ML-DSA
    # OCSP responses are signed in batches on a schedule: people cannot approve each one.
    Purpose.OCSP_SIGNING: PurposeRules(_SIGNING, batches=True),
    Purpose.AUTHENTICATION: PurposeRules(_SIGNING, exportable=True),
    Purpose.CARD_AUTHENTICATION: PurposeRules(_SIGNING, exportable=True),
    Purpose.DIGITAL_SIGNATURE: PurposeRules(_SIGNING, exportable=True, approvable=True),
    # Decryption and key agreement. Only these keys are escrowed: a signing key must have one holder.
    Purpose.KEY_MANAGEMENT: PurposeRules(
        (*_RSA, *_EC, Algorithm.X25519), signs=False, exportable=True, escrowable=True
    ),
    # NATS servers and users hold their own seeds; operators and accounts sign JWTs.
    Purpose.NATS_OPERATOR: _SIGNING_NKEY,
    Purpose.NATS_ACCOUNT: _SIGNING_NKEY,
    Purpose.NATS_USER: _NKEY,
    Purpose.NATS_SERVER: _NKEY,
}

SIGNATURE_ALGORITHMS: dict[Algorithm, tuple[SignatureAlgorithm, ...]] = {
    Algorithm.RSA_2048: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_3072: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.RSA_4096: (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA384),
    Algorithm.EC_P256: (SignatureAlgorithm.ECDSA_SHA256,),
    Algorithm.EC_P384: (SignatureAlgorithm.ECDSA_SHA384, SignatureAlgorithm.ECDSA_SHA256),
    Algorithm.ED25519: (SignatureAlgorithm.ED25519,),
    Algorithm.X25519: (),
    Algorithm.ML_DSA_65: (SignatureAlgorithm.ML_DSA_65,),
}
"""Signature algorithms of each key algorithm, the default first."""


def default_purpose(algorithm: Algorithm) -> Purpose:
    """Returns the purpose of a key whose command gives none. X25519 keys only derive shared secrets (RFC 7748)."""
    return Purpose.KEY_MANAGEMENT if algorithm is Algorithm.X25519 else Purpose.DIGITAL_SIGNATURE
