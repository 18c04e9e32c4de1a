"""Signatures and the keys that make them: which are strong enough to be relied on, and whether one verifies."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa, x448, x25519

_SMALLEST_RSA, _LARGEST_RSA = 2048, 8192  # SP 800-57 part 1, table 2; above, one check would take too long
_SMALLEST_EXPONENT = 3
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


def weakness(key: object) -> str | None:
    """Why nobody should rely on this key; None: it is strong enough."""
    match key:
        case rsa.RSAPublicKey():
            if not _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
                return f"its RSA key has {key.key_size} bits, and not {_SMALLEST_RSA} to {_LARGEST_RSA}"
            return None if key.public_numbers().e >= _SMALLEST_EXPONENT else "the exponent of its RSA key is too small"
        case ec.EllipticCurvePublicKey():
            fits = isinstance(key.curve, _CURVES)
            return None if fits else f"its key is on the curve {key.curve.name}, and not on P-256, P-384 or P-521"
        case x25519.X25519PublicKey() | x448.X448PublicKey():
            return None
        case _ if isinstance(key, _WITHOUT_DIGEST):
            return None
        case _:
            return f"its key is of a kind that is not relied on: {type(key).__name__}"


def weakness_for_the_web(key: object) -> str | None:
    """CA/Browser Forum, Baseline Requirements, 6.1.5: RSA in whole octets, or a NIST curve."""
    match key:
        case rsa.RSAPublicKey():
            return "the length of its RSA key is not divisible by 8 (BR 6.1.5)" if key.key_size % 8 else None
        case ec.EllipticCurvePublicKey():
            return None
        case _:
            return "its key is neither RSA nor ECDSA (BR 6.1.5)"


def verifies(signed: Signed, key: object) -> bool:
    """Whether the signature is by *key*, and of an algorithm that is relied on."""
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
        raise UnsupportedAlgorithm("a digest that is not relied on")
    return digest
