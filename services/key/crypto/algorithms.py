"""Key generation, encoding and signatures for each algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | x25519.X25519PrivateKey
    | mldsa.MLDSA65PrivateKey
)
PublicKey = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | x25519.X25519PublicKey
    | mldsa.MLDSA65PublicKey
)

_PUBLIC_EXPONENT = 65537


@dataclass(frozen=True, slots=True)
class PublicKeyInfo:
    pem: str
    fingerprint_sha256: str


def is_rsa(algorithm: Algorithm) -> bool:
    """Tells whether a key is RSA: its generation and signatures take milliseconds, so they run in a thread."""
    return algorithm in (Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096)


def generate(algorithm: Algorithm) -> PrivateKey:
    match algorithm:
        case Algorithm.RSA_2048:
            return rsa.generate_private_key(_PUBLIC_EXPONENT, 2048)
        case Algorithm.RSA_3072:
            return rsa.generate_private_key(_PUBLIC_EXPONENT, 3072)
        case Algorithm.RSA_4096:
            return rsa.generate_private_key(_PUBLIC_EXPONENT, 4096)
        case Algorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case Algorithm.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case Algorithm.X25519:
            return x25519.X25519PrivateKey.generate()
        case Algorithm.ML_DSA_65:
            return mldsa.MLDSA65PrivateKey.generate()
        case _:
            assert_never(algorithm)


def to_pkcs8(private: PrivateKey) -> bytes:
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_pkcs8(der: bytes) -> PrivateKey:
    """Loads a key. *der* must be authenticated: RSA parameters are not validated again."""
    private = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, PrivateKey):
        raise TypeError("a key of an algorithm that the key service does not support")
    return private


def spki(public: PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_info(private: PrivateKey) -> PublicKeyInfo:
    public = private.public_key()
    der = spki(public)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKeyInfo(pem.decode(), sha256(der).hexdigest())


def sign(private: PrivateKey, algorithm: SignatureAlgorithm, message: bytes) -> bytes:
    """Signs *message* itself, not a digest of it. Raises TypeError if *algorithm* does not fit the key."""
    match algorithm, private:
        case SignatureAlgorithm.RSA_PKCS1_SHA256, rsa.RSAPrivateKey():
            return private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case SignatureAlgorithm.RSA_PKCS1_SHA384, rsa.RSAPrivateKey():
            return private.sign(message, padding.PKCS1v15(), hashes.SHA384())
        case SignatureAlgorithm.ECDSA_SHA256, ec.EllipticCurvePrivateKey():
            return private.sign(message, _ecdsa(hashes.SHA256()))
        case SignatureAlgorithm.ECDSA_SHA384, ec.EllipticCurvePrivateKey():
            return private.sign(message, _ecdsa(hashes.SHA384()))
        case SignatureAlgorithm.ED25519, ed25519.Ed25519PrivateKey():
            return private.sign(message)
        case SignatureAlgorithm.ML_DSA_65, mldsa.MLDSA65PrivateKey():
            return private.sign(message)
        case _:
            raise TypeError(f"{algorithm} does not fit a key of this type")


def verify(public: PublicKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes) -> None:
    """Verifies a signature. Raises InvalidSignature, also if *algorithm* does not fit the key."""
    match algorithm, public:
        case SignatureAlgorithm.RSA_PKCS1_SHA256, rsa.RSAPublicKey():
            public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        case SignatureAlgorithm.RSA_PKCS1_SHA384, rsa.RSAPublicKey():
            public.verify(signature, message, padding.PKCS1v15(), hashes.SHA384())
        case SignatureAlgorithm.ECDSA_SHA256, ec.EllipticCurvePublicKey():
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        case SignatureAlgorithm.ECDSA_SHA384, ec.EllipticCurvePublicKey():
            public.verify(signature, message, ec.ECDSA(hashes.SHA384()))
        case SignatureAlgorithm.ED25519, ed25519.Ed25519PublicKey():
            public.verify(signature, message)
        case SignatureAlgorithm.ML_DSA_65, mldsa.MLDSA65PublicKey():
            public.verify(signature, message)
        case _:
            raise InvalidSignature


def is_deterministic(algorithm: SignatureAlgorithm) -> bool:
    """Tells whether a message always has the same signature. ML-DSA is randomized (FIPS 204, 3.4)."""
    match algorithm:
        case SignatureAlgorithm.ML_DSA_65:
            return False
        case SignatureAlgorithm.ECDSA_SHA256 | SignatureAlgorithm.ECDSA_SHA384:
            return _deterministic()
        case SignatureAlgorithm.RSA_PKCS1_SHA256 | SignatureAlgorithm.RSA_PKCS1_SHA384 | SignatureAlgorithm.ED25519:
            return True
        case _:
            assert_never(algorithm)


@cache
def _deterministic() -> bool:
    try:
        ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return False
    return True


def _ecdsa(digest: hashes.HashAlgorithm) -> ec.ECDSA:
    """Uses deterministic ECDSA (RFC 6979) where available: bad randomness cannot leak the key."""
    return ec.ECDSA(digest, deterministic_signing=_deterministic())
