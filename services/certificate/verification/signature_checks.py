"""Verification of signatures, and of the strength of keys. Pure."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa, x448, x25519

_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192  # SP 800-57 part 1, table 2; larger keys make verification too slow
_MIN_RSA_EXPONENT = 3
_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)  # SHA-1 is disallowed (SP 800-131A), RFC 9155
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WITHOUT_DIGEST = (  # RFC 8410, RFC 9881
    ed25519.Ed25519PublicKey,
    ed448.Ed448PublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)
Signed = x509.Certificate | x509.CertificateRevocationList


def key_weakness(key: object) -> str | None:
    """Returns why this key is too weak or unknown, or None."""
    match key:
        case rsa.RSAPublicKey():
            if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
                return f"its RSA key has {key.key_size} bits, and not {_MIN_RSA_BITS} to {_MAX_RSA_BITS}"
            return None if key.public_numbers().e >= _MIN_RSA_EXPONENT else "the exponent of its RSA key is too small"
        case ec.EllipticCurvePublicKey():
            fits = isinstance(key.curve, _CURVES)
            return None if fits else f"its key is on the curve {key.curve.name}, and not on P-256, P-384 or P-521"
        case x25519.X25519PublicKey() | x448.X448PublicKey():
            return None
        case _ if isinstance(key, _WITHOUT_DIGEST):
            return None
        case _:
            return f"its key type is not accepted: {type(key).__name__}"


def baseline_key_weakness(key: object) -> str | None:
    """Returns why the Baseline Requirements (6.1.5) do not allow this key, or None."""
    match key:
        case rsa.RSAPublicKey():
            return "the length of its RSA key is not divisible by 8 (BR 6.1.5)" if key.key_size % 8 else None
        case ec.EllipticCurvePublicKey():
            return None
        case _:
            return "its key is neither RSA nor ECDSA (BR 6.1.5)"


def is_signed_by(signed: Signed, key: object) -> bool:
    """Tells whether the signature is by *key* and of an accepted algorithm."""
    try:
        _verify(signed, key)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _verify(signed: Signed, key: object) -> None:
    message = signed.tbs_certificate_bytes if isinstance(signed, x509.Certificate) else signed.tbs_certlist_bytes
    match key, signed.signature_algorithm_parameters:
        case rsa.RSAPublicKey(), (padding.PKCS1v15() | padding.PSS()) as scheme:
            key.verify(signed.signature, message, scheme, _digest(signed))
        case ec.EllipticCurvePublicKey(), ec.ECDSA():
            key.verify(signed.signature, message, ec.ECDSA(_digest(signed)))
        case _, None if isinstance(key, _WITHOUT_DIGEST):
            key.verify(signed.signature, message)
        case _:
            raise InvalidSignature


def _digest(signed: Signed) -> hashes.HashAlgorithm:
    digest = signed.signature_hash_algorithm
    if not isinstance(digest, _DIGESTS):
        raise UnsupportedAlgorithm("a digest that is not accepted")
    return digest
