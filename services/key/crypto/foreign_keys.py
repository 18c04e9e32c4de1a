"""Keys from elsewhere, judged before they are taken over: nothing about them is believed."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key

from services.key.crypto.algorithms import PrivateKey, spki, verify
from services.key.purposes import FITTING
from shared.contracts.key.value_types import Algorithm

_SMALLEST_EXPONENT = 65537  # FIPS 186-5, A.1.1
_RSA = {2048: Algorithm.RSA_2048, 3072: Algorithm.RSA_3072, 4096: Algorithm.RSA_4096}
_CURVES = {"secp256r1": Algorithm.EC_P256, "secp384r1": Algorithm.EC_P384}
_LONGEST = 8192  # octets; an RSA key of 4096 bits has 2.4 kB
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_SEQUENCE, _INTEGER, _LONG_FORM = 0x30, 0x02, 0x80


class NotTheKeyError(ValueError):
    """What was sent is not the key that it is said to be; the message says why without a word of it."""


def judged(pkcs8: bytes, algorithm: Algorithm, public_key_pem: str) -> PrivateKey:
    """The private key in *pkcs8*. Raises NotTheKeyError unless it is sound and all that is said of it is so."""
    if len(pkcs8) > _LONGEST or not _is_pkcs8(pkcs8):
        raise NotTheKeyError("what is sealed is no PKCS#8 PrivateKeyInfo in DER (RFC 5958), unencrypted")
    try:
        private = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        raise NotTheKeyError("what is sealed is no private key that can be read, or of an unknown kind") from None
    found = algorithm_of(private)
    if not isinstance(private, PrivateKey) or found is None:
        raise NotTheKeyError(
            "what is sealed is of a kind, curve or size that the key service does not keep; what it keeps: "
            + ", ".join(Algorithm)
        )
    if found is not algorithm:
        raise NotTheKeyError(f"what is sealed is a key of {found}, not of {algorithm}: name its own algorithm")
    sound = _sound(private, pkcs8)
    try:
        public = load_pem_public_key(public_key_pem.encode())
    except _UNREADABLE:
        raise NotTheKeyError("public_key_pem is no public key in PEM") from None
    if not isinstance(public, type(sound.public_key())) or spki(public) != spki(sound.public_key()):
        raise NotTheKeyError("public_key_pem is not the public half of what is sealed")
    return sound


def algorithm_of(private: object) -> Algorithm | None:
    match private:
        case rsa.RSAPrivateKey():
            return _RSA.get(private.key_size)
        case ec.EllipticCurvePrivateKey():
            return _CURVES.get(private.curve.name)
        case ed25519.Ed25519PrivateKey():
            return Algorithm.ED25519
        case x25519.X25519PrivateKey():
            return Algorithm.X25519
        case mldsa.MLDSA65PrivateKey():
            return Algorithm.ML_DSA_65
        case _:
            return None


def require_proof(private: PrivateKey, algorithm: Algorithm, proof: bytes, message: bytes) -> None:
    """Raise NotTheKeyError unless *proof* is over *message*, by the usual algorithm of the key's kind."""
    usual = FITTING[algorithm][0]
    try:
        verify(private.public_key(), usual, proof, message)
    except InvalidSignature:
        raise NotTheKeyError(
            f"proof does not verify: sign import_proof(key_id, recipient public key) with the key, by {usual}"
        ) from None


def _sound(private: PrivateKey, pkcs8: bytes) -> PrivateKey:
    """The key with its numbers proven: RSA's belong together and are prime; an EC key's public half is its own."""
    match private:
        case rsa.RSAPrivateKey():
            if private.public_key().public_numbers().e < _SMALLEST_EXPONENT:
                raise NotTheKeyError(f"the public exponent is less than {_SMALLEST_EXPONENT} (FIPS 186-5, A.1.1)")
            try:
                load_der_private_key(pkcs8, None)
            except _UNREADABLE:
                raise NotTheKeyError("the numbers of the RSA key do not belong together") from None
            return private
        case ec.EllipticCurvePrivateKey():
            try:  # whatever public half is written beside it is left behind
                return ec.derive_private_key(private.private_numbers().private_value, private.curve)
            except _UNREADABLE:
                raise NotTheKeyError("the EC key is not in the range of its curve") from None
        case _:
            return private


def _is_pkcs8(der: bytes) -> bool:
    """SEQUENCE, the version 0 or 1, and the SEQUENCE of an AlgorithmIdentifier: no older form begins so."""
    if len(der) < 2 or der[0] != _SEQUENCE:  # noqa: PLR2004 - a tag and a length
        return False
    header = 2 + (der[1] & 0x7F if der[1] & _LONG_FORM else 0)
    return der[header : header + 4] in (bytes([_INTEGER, 1, version, _SEQUENCE]) for version in (0, 1))
