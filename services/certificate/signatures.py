"""Signature verification, for every signature algorithm of the contract."""

from typing import assert_never

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from shared.contracts.key.value_types import SignatureAlgorithm

VerifyingKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey
DIGESTS: dict[SignatureAlgorithm, hashes.SHA256 | hashes.SHA384] = {
    SignatureAlgorithm.RSA_PKCS1_SHA256: hashes.SHA256(),
    SignatureAlgorithm.RSA_PKCS1_SHA384: hashes.SHA384(),
    SignatureAlgorithm.ECDSA_SHA256: hashes.SHA256(),
    SignatureAlgorithm.ECDSA_SHA384: hashes.SHA384(),
}


def verify(key: VerifyingKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes) -> None:
    """Verifies a signature; raises cryptography's InvalidSignature, and nothing else, if it is wrong."""
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, message, padding.PKCS1v15(), DIGESTS[algorithm])
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(DIGESTS[algorithm]))
        case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey():
            key.verify(signature, message)
        case _:
            assert_never(key)
