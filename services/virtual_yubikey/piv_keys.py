"""Asymmetric algorithms of a YubiKey 5.7: generation, import, use and encoding of key pairs.

Identifiers are those of NIST SP 800-78-4, table 6-2, and of Yubico's PIV extensions.
"""

from collections.abc import Mapping
from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from services.virtual_yubikey.iso7816 import StatusError, StatusWord, tlv

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey

PUBLIC_EXPONENT = 65537
MODULUS, EXPONENT, POINT = 0x81, 0x82, 0x86


class Algorithm(IntEnum):
    """Algorithm identifier, in P1 or tag 80."""

    RSA_3072 = 0x05
    RSA_1024 = 0x06
    RSA_2048 = 0x07
    P_256 = 0x11
    P_384 = 0x14
    RSA_4096 = 0x16
    ED25519 = 0xE0
    X25519 = 0xE1


RSA_BITS = {
    Algorithm.RSA_1024: 1024,
    Algorithm.RSA_2048: 2048,
    Algorithm.RSA_3072: 3072,
    Algorithm.RSA_4096: 4096,
}
CURVES: dict[Algorithm, ec.EllipticCurve] = {
    Algorithm.P_256: ec.SECP256R1(),
    Algorithm.P_384: ec.SECP384R1(),
}
SINCE_5_7 = {Algorithm.RSA_3072, Algorithm.RSA_4096, Algorithm.ED25519, Algorithm.X25519}


def supported_algorithm(number: int, firmware: tuple[int, int, int]) -> Algorithm:
    """Parses an algorithm identifier. Raises StatusError if this firmware does not support it."""
    if number not in set(Algorithm) or (number in SINCE_5_7 and firmware < (5, 7, 0)):
        raise StatusError(StatusWord.WRONG_DATA)
    return Algorithm(number)


def generate(algorithm: Algorithm) -> PrivateKey:
    """Generates a private key."""
    if algorithm in RSA_BITS:
        return rsa.generate_private_key(PUBLIC_EXPONENT, RSA_BITS[algorithm])
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    if algorithm is Algorithm.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return x25519.X25519PrivateKey.generate()


def import_key(algorithm: Algorithm, elements: Mapping[int, bytes]) -> PrivateKey:
    """Constructs a private key from the elements of IMPORT ASYMMETRIC KEY (Yubico PIV extensions)."""
    try:
        if algorithm in RSA_BITS:
            return _import_rsa(RSA_BITS[algorithm], elements)
        if algorithm in CURVES:
            return ec.derive_private_key(int.from_bytes(elements[0x06]), CURVES[algorithm])
        if algorithm is Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(elements[0x07])
        return x25519.X25519PrivateKey.from_private_bytes(elements[0x08])
    except (KeyError, ValueError):
        raise StatusError(StatusWord.WRONG_DATA) from None


def _import_rsa(bits: int, elements: Mapping[int, bytes]) -> rsa.RSAPrivateKey:
    p, q, dmp1, dmq1, iqmp = (int.from_bytes(elements[tag]) for tag in range(0x01, 0x06))
    public = rsa.RSAPublicNumbers(PUBLIC_EXPONENT, p * q)
    exponent = rsa.rsa_recover_private_exponent(PUBLIC_EXPONENT, p, q)
    key = rsa.RSAPrivateNumbers(p, q, exponent, dmp1, dmq1, iqmp, public).private_key()
    if key.key_size != bits:
        raise ValueError
    return key


def algorithm_of(key: PrivateKey) -> Algorithm:
    """The algorithm identifier of a key."""
    match key:
        case rsa.RSAPrivateKey():
            return next(name for name, bits in RSA_BITS.items() if bits == key.key_size)
        case ec.EllipticCurvePrivateKey():
            return next(name for name, curve in CURVES.items() if curve.name == key.curve.name)
        case ed25519.Ed25519PrivateKey():
            return Algorithm.ED25519
        case x25519.X25519PrivateKey():
            return Algorithm.X25519


def public_key_tlvs(key: PrivateKey) -> bytes:
    """Encodes the public key (SP 800-73-4 part 2, 3.3.2)."""
    match key:
        case rsa.RSAPrivateKey():
            numbers = key.public_key().public_numbers()
            modulus = numbers.n.to_bytes(key.key_size // 8)
            return tlv(MODULUS, modulus) + tlv(EXPONENT, numbers.e.to_bytes(3))
        case ec.EllipticCurvePrivateKey():
            point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return tlv(POINT, point)
        case _:
            return tlv(POINT, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def sign_or_decrypt(key: PrivateKey, message: bytes) -> bytes:
    """Applies the private key to *message*. The host pads and hashes."""
    match key:
        case rsa.RSAPrivateKey():
            return _raw_rsa(key, message)
        case ec.EllipticCurvePrivateKey():
            return _sign_digest(key, message)
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)
        case x25519.X25519PrivateKey():
            raise StatusError(StatusWord.WRONG_DATA)


def _raw_rsa(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    numbers = key.private_numbers()
    size, value = key.key_size // 8, int.from_bytes(message)
    if len(message) != size or value >= numbers.public_numbers.n:
        raise StatusError(StatusWord.WRONG_DATA)
    # cryptography has no textbook RSA; this is RFC 8017, 5.1.2 with the Chinese remainder theorem.
    by_p = pow(value, numbers.dmp1, numbers.p)
    by_q = pow(value, numbers.dmq1, numbers.q)
    result = by_q + numbers.q * ((by_p - by_q) * numbers.iqmp % numbers.p)
    return result.to_bytes(size)


def _sign_digest(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    size = key.curve.key_size // 8
    if not digest or len(digest) > size:
        raise StatusError(StatusWord.WRONG_DATA)
    # ECDSA interprets the digest as an integer (FIPS 186-5, 6.4.1), so leading zeros change nothing:
    # a shorter digest is padded to the length of the curve's.
    curve_hash = hashes.SHA256() if size == 32 else hashes.SHA384()
    return key.sign(digest.rjust(size, b"\0"), ec.ECDSA(Prehashed(curve_hash)))


def agree(key: PrivateKey, peer: bytes) -> bytes:
    """Computes the Diffie-Hellman secret shared with the public key *peer*."""
    try:
        match key:
            case ec.EllipticCurvePrivateKey():
                point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, peer)
                return key.exchange(ec.ECDH(), point)
            case x25519.X25519PrivateKey():
                return key.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
            case _:
                raise StatusError(StatusWord.WRONG_DATA)
    except ValueError:
        raise StatusError(StatusWord.WRONG_DATA) from None


def to_pkcs8(key: PrivateKey) -> bytes:
    """Serialises a key as PKCS#8. The caller seals it."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_pkcs8(content: bytes) -> PrivateKey:
    """Reads a key that `to_pkcs8` wrote."""
    # The key was validated when it was created: validating an RSA-4096 key again is slow.
    key = load_der_private_key(content, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, PrivateKey):
        raise UnsupportedAlgorithm("a PIV slot holds RSA, P-256, P-384, Ed25519 or X25519 keys")
    return key
