"""Validation of imported private keys: the importer's claims are compared with the key itself."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key

from services.key.crypto.algorithms import PrivateKey, spki, verify
from services.key.purposes import SIGNATURE_ALGORITHMS
from shared.contracts.key.value_types import Algorithm

_MIN_EXPONENT = 65537  # FIPS 186-5, A.1.1
_RSA_BITS = {2048: Algorithm.RSA_2048, 3072: Algorithm.RSA_3072, 4096: Algorithm.RSA_4096}
_CURVES = {"secp256r1": Algorithm.EC_P256, "secp384r1": Algorithm.EC_P384}
_MAX_OCTETS = 8192  # octets; an RSA key of 4096 bits has 2.4 kB
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_SEQUENCE, _INTEGER, _LONG_FORM = 0x30, 0x02, 0x80


class ForeignKeyError(ValueError):
    """The sealed content is not the claimed key. The message contains no part of it."""


def load_foreign_key(pkcs8: bytes, algorithm: Algorithm, public_key_pem: str) -> PrivateKey:
    """Loads and validates the private key in *pkcs8*. Raises ForeignKeyError if it or a claim about it is wrong."""
    if len(pkcs8) > _MAX_OCTETS or not _is_private_key_info(pkcs8):
        raise ForeignKeyError("the sealed content is no PKCS#8 PrivateKeyInfo in DER (RFC 5958), unencrypted")
    try:
        private = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        raise ForeignKeyError("the sealed content is no readable private key, or of an unknown kind") from None
    found = algorithm_of(private)
    if not isinstance(private, PrivateKey) or found is None:
        raise ForeignKeyError(
            "the sealed key has a type, curve or size that the key service does not support; supported: "
            + ", ".join(Algorithm)
        )
    if found is not algorithm:
        raise ForeignKeyError(f"the sealed key is {found}, not {algorithm}: set algorithm to {found}")
    validated = _validate(private, pkcs8)
    try:
        public = load_pem_public_key(public_key_pem.encode())
    except _UNREADABLE:
        raise ForeignKeyError("public_key_pem is no public key in PEM") from None
    if not isinstance(public, type(validated.public_key())) or spki(public) != spki(validated.public_key()):
        raise ForeignKeyError("public_key_pem is not the public key of the sealed key")
    return validated


def algorithm_of(private: object) -> Algorithm | None:
    match private:
        case rsa.RSAPrivateKey():
            return _RSA_BITS.get(private.key_size)
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
    """Raises ForeignKeyError unless *proof* signs *message* with the default algorithm of the key."""
    default = SIGNATURE_ALGORITHMS[algorithm][0]
    try:
        verify(private.public_key(), default, proof, message)
    except InvalidSignature:
        raise ForeignKeyError(
            f"proof does not verify: sign import_proof(key_id, recipient public key) with the key, by {default}"
        ) from None


def _validate(private: PrivateKey, pkcs8: bytes) -> PrivateKey:
    """Returns the key after checking RSA parameters, or with the EC public key derived from the private value."""
    match private:
        case rsa.RSAPrivateKey():
            if private.public_key().public_numbers().e < _MIN_EXPONENT:
                raise ForeignKeyError(f"the public exponent is less than {_MIN_EXPONENT} (FIPS 186-5, A.1.1)")
            try:
                load_der_private_key(pkcs8, None)
            except _UNREADABLE:
                raise ForeignKeyError("the parameters of the RSA key are inconsistent") from None
            return private
        case ec.EllipticCurvePrivateKey():
            try:  # ignores the public key in the encoding
                return ec.derive_private_key(private.private_numbers().private_value, private.curve)
            except _UNREADABLE:
                raise ForeignKeyError("the private value of the EC key is out of range for its curve") from None
        case _:
            return private


def _is_private_key_info(der: bytes) -> bool:
    """Looks for SEQUENCE, version 0 or 1, SEQUENCE: PKCS#8 begins so (RFC 5958), older formats do not."""
    if len(der) < 2 or der[0] != _SEQUENCE:  # noqa: PLR2004 - a tag and a length
        return False
    header = 2 + (der[1] & 0x7F if der[1] & _LONG_FORM else 0)
    return der[header : header + 4] in (bytes([_INTEGER, 1, version, _SEQUENCE]) for version in (0, 1))
