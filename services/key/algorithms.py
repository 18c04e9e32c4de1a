"""Keys and signatures of each algorithm, and what a certificate-signing key will sign."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import assert_never

from cryptography import x509
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

from shared.contracts.keying import Algorithm, SignatureAlgorithm
from shared.der import bit_string, sequence

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
_LONGEST_SERIAL = 20
_VERSION_3 = bytes.fromhex("a003020102")
_IDENTIFIERS = {
    # The DER of each AlgorithmIdentifier: RFC 4055, 5 (its NULL is required); RFC 5758, 3.2; RFC 8410, 3; RFC 9881, 2
    SignatureAlgorithm.RSA_PKCS1_SHA256: bytes.fromhex("300d06092a864886f70d01010b0500"),
    SignatureAlgorithm.RSA_PKCS1_SHA384: bytes.fromhex("300d06092a864886f70d01010c0500"),
    SignatureAlgorithm.ECDSA_SHA256: bytes.fromhex("300a06082a8648ce3d040302"),
    SignatureAlgorithm.ECDSA_SHA384: bytes.fromhex("300a06082a8648ce3d040303"),
    SignatureAlgorithm.ED25519: bytes.fromhex("300506032b6570"),
    SignatureAlgorithm.ML_DSA_65: bytes.fromhex("300b0609608648016503040312"),
}
_UNREADABLE = (
    ValueError,
    TypeError,  # a name with an attribute of a type that it cannot be of
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class NotToBeSignedError(ValueError):
    """The bytes are not what a certificate-signing key signs; the message says why."""


@dataclass(frozen=True, slots=True)
class PublicHalf:
    pem: str
    fingerprint_sha256: str


def is_slow(algorithm: Algorithm) -> bool:
    """Whether generating and signing take milliseconds, so that they belong off the loop (facts.md: EC does not)."""
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
    """The key in *der*, which must come from an authenticated source: an RSA key's numbers are not checked again."""
    private = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, PrivateKey):
        raise TypeError("a key of an algorithm that the key service does not make")
    return private


def spki(public: PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_half(private: PrivateKey) -> PublicHalf:
    public = private.public_key()
    der = spki(public)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicHalf(pem.decode(), sha256(der).hexdigest())


def sign(private: PrivateKey, algorithm: SignatureAlgorithm, message: bytes) -> bytes:
    """Sign *message* itself, not a digest of it. Raises TypeError for a key that *algorithm* is not for."""
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
            raise TypeError(f"{algorithm} is not for a key of this kind")


def verify(public: PublicKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature, also for a key that *algorithm* is not for."""
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


def is_repeatable(algorithm: SignatureAlgorithm) -> bool:
    """Whether the same message always has the same signature. ML-DSA draws randomness for each (FIPS 204, 3.4)."""
    match algorithm:
        case SignatureAlgorithm.ML_DSA_65:
            return False
        case SignatureAlgorithm.ECDSA_SHA256 | SignatureAlgorithm.ECDSA_SHA384:
            return _deterministic()
        case SignatureAlgorithm.RSA_PKCS1_SHA256 | SignatureAlgorithm.RSA_PKCS1_SHA384 | SignatureAlgorithm.ED25519:
            return True
        case _:
            assert_never(algorithm)


def require_to_be_signed(message: bytes, algorithm: SignatureAlgorithm) -> None:
    """Raise NotToBeSignedError unless *message* is one TBSCertificate or TBSCertList, to be signed with *algorithm*.

    It is put into the shape that it will have once signed, so that a parser of the finished thing judges it.
    """
    finished = sequence(message, _IDENTIFIERS[algorithm], bit_string(b""))
    try:
        certificate = x509.load_der_x509_certificate(finished)
    except _UNREADABLE as no_certificate:
        try:
            revocations = x509.load_der_x509_crl(finished)
        except _UNREADABLE as no_crl:
            raise NotToBeSignedError(f"no TBSCertificate: {no_certificate}; no TBSCertList: {no_crl}") from None
        _require_whole_crl(revocations, message)
    else:
        _require_whole_certificate(certificate, message, algorithm)


def _require_whole_certificate(certificate: x509.Certificate, message: bytes, algorithm: SignatureAlgorithm) -> None:
    try:
        if certificate.version is not x509.Version.v3:
            raise NotToBeSignedError("the TBSCertificate is not of version 3")
        # Reading these parses what the loader left alone.
        _ = (certificate.subject, certificate.issuer, certificate.public_key(), [*certificate.extensions])
    except _UNREADABLE as error:
        raise NotToBeSignedError(f"the TBSCertificate does not parse: {error}") from None
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, signed=True)
    if serial <= 0 or len(octets) > _LONGEST_SERIAL:
        raise NotToBeSignedError("the serial number must be positive and of at most 20 octets (RFC 5280, 4.1.2.2)")
    # The loader does not compare the inner AlgorithmIdentifier with the outer one. In DER of version 3 whatever stands
    # before it is known by now, octet for octet: version, serial number (RFC 5280, 4.1).
    beginning = _VERSION_3 + bytes([0x02, len(octets)]) + octets + _IDENTIFIERS[algorithm]
    if not _content(message).startswith(beginning):
        raise NotToBeSignedError(f"the TBSCertificate names another signature algorithm inside, not {algorithm}")
    if certificate.tbs_certificate_bytes != message:
        raise NotToBeSignedError("there is more than one TBSCertificate")


def _require_whole_crl(revocations: x509.CertificateRevocationList, message: bytes) -> None:
    """The inner AlgorithmIdentifier is the outer one: the loader has compared them."""
    try:
        _ = (revocations.issuer, [*revocations.extensions], [[*entry.extensions] for entry in revocations])
    except _UNREADABLE as error:
        raise NotToBeSignedError(f"the TBSCertList does not parse: {error}") from None
    if revocations.tbs_certlist_bytes != message:
        raise NotToBeSignedError("there is more than one TBSCertList")


def _content(element: bytes) -> bytes:
    """What is in a DER element whose header is known to be sound: X.690, 8.1.3."""
    length_octets = element[1] & 0x7F if element[1] & 0x80 else 0
    return element[2 + length_octets :]


@cache
def _deterministic() -> bool:
    try:
        ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return False
    return True


def _ecdsa(digest: hashes.HashAlgorithm) -> ec.ECDSA:
    """RFC 6979: the same message has the same signature, and no bad randomness can give the key away."""
    return ec.ECDSA(digest, deterministic_signing=_deterministic())
