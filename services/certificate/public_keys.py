"""Public keys of requests and certificates: loads them, checks them, names their type, algorithm and identifier.

A key that is not acceptable raises ValueError with a message for the user.
"""

import base64
import binascii
from hashlib import sha256
from typing import assert_never

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from services.certificate.profiles import KeyType, check_key
from services.certificate.signatures import VerifyingKey
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import SignatureAlgorithm

SigningKey = VerifyingKey
SubjectKey = SigningKey | x25519.X25519PublicKey

_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 4096
_MIN_RSA_EXPONENT = 65537  # FIPS 186-5, A.1.1
_SUPPORTED = "the public key must be RSA, EC (P-256, P-384), Ed25519, X25519 or, where it is enabled, ML-DSA-65"


def load_requested_key(public_key_pem: str | None, csr_pem: str | None) -> object:
    """Loads the public key of a request, from PEM or from a CSR with a valid proof of possession."""
    if csr_pem is not None:
        return _from_csr(csr_pem)
    try:
        return load_pem_public_key((public_key_pem or "").encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"public_key_pem is not a readable public key; {_SUPPORTED}") from error


def _from_csr(pem: str) -> object:
    """Verifies the signature of a CSR, its proof of possession (RFC 2986); attributes and subject are ignored."""
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        has_proof, key = csr.is_signature_valid, csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"csr_pem is not a readable CSR; {_SUPPORTED}") from error
    if not has_proof:
        raise ValueError("the signature of csr_pem does not verify with the public key in it")
    reject_trailing_data(pem, csr.public_bytes(Encoding.DER), "csr_pem")
    return key


def reject_trailing_data(pem: str, encoded: bytes, field: str) -> None:
    """Raises ValueError unless *pem* is one block and holds exactly the DER *encoded*."""
    lines = pem.strip().splitlines()
    if not (lines[0].startswith("-----BEGIN ") and lines[-1].startswith("-----END ")):
        raise ValueError(f"there is more in {field} than one PEM block")
    try:
        decoded = base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"there is more in {field} than one PEM block of base64") from error
    if decoded != encoded:
        raise ValueError(f"{field} is not DER, or has data after the end")


def require_subject_key(key: object, profile: Profile, *, ml_dsa: bool) -> SubjectKey:
    """Returns *key* if it is strong enough and *profile* allows its type."""
    supported = _require_supported(key, ml_dsa=ml_dsa)
    bits = supported.key_size if isinstance(supported, rsa.RSAPublicKey) else None
    if (problem := check_key(profile, key_type(supported), bits)) is not None:
        raise ValueError(problem)
    return supported


def _require_supported(key: object, *, ml_dsa: bool) -> SubjectKey:
    match key:
        case rsa.RSAPublicKey():
            if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
                raise ValueError(f"an RSA key must have {_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits, not {key.key_size}")
            if key.public_numbers().e < _MIN_RSA_EXPONENT:
                raise ValueError(f"an RSA key must have a public exponent of {_MIN_RSA_EXPONENT} or more")
            return key
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            return key
        case ec.EllipticCurvePublicKey():
            raise ValueError(f"an EC key must be on P-256 or P-384, not {key.curve.name}")
        case ed25519.Ed25519PublicKey() | x25519.X25519PublicKey():
            return key
        case mldsa.MLDSA65PublicKey() if ml_dsa:
            return key
        case _:
            raise ValueError(_SUPPORTED)


def require_signing_key(key: object) -> SigningKey:
    """Returns *key* if it can sign."""
    if isinstance(key, SigningKey):
        return key
    raise ValueError("an issuer's key must be a signing key")


def key_type(key: SubjectKey) -> KeyType:
    match key:
        case rsa.RSAPublicKey():
            return KeyType.RSA
        case ec.EllipticCurvePublicKey():
            return KeyType.EC
        case ed25519.Ed25519PublicKey():
            return KeyType.ED25519
        case x25519.X25519PublicKey():
            return KeyType.X25519
        case mldsa.MLDSA65PublicKey():
            return KeyType.ML_DSA
        case _:
            assert_never(key)


def signature_algorithm(key: SigningKey) -> SignatureAlgorithm:
    """Returns the algorithm that a CA uses with this key: the digest is as strong as the key (SP 800-78-5, table 3)."""
    match key:
        case rsa.RSAPublicKey():
            return SignatureAlgorithm.RSA_PKCS1_SHA256
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return SignatureAlgorithm.ECDSA_SHA384
        case ec.EllipticCurvePublicKey():
            return SignatureAlgorithm.ECDSA_SHA256
        case ed25519.Ed25519PublicKey():
            return SignatureAlgorithm.ED25519
        case mldsa.MLDSA65PublicKey():
            return SignatureAlgorithm.ML_DSA_65
        case _:
            assert_never(key)


def key_identifier(key: SubjectKey) -> bytes:
    """Computes the subject key identifier by RFC 7093, section 2, method 1: truncated SHA-256 of the key bits."""
    match key:
        case rsa.RSAPublicKey():
            bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        case ec.EllipticCurvePublicKey():
            bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case ed25519.Ed25519PublicKey() | x25519.X25519PublicKey() | mldsa.MLDSA65PublicKey():
            bits = key.public_bytes_raw()
        case _:
            assert_never(key)
    return sha256(bits).digest()[:20]


def to_pem(key: SubjectKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
