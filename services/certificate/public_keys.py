"""Public keys as they come with a request: read, judged, named. What is wrong with one is a ValueError that says so."""

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

_SMALLEST_RSA, _LARGEST_RSA = 2048, 4096
_SMALLEST_EXPONENT = 65537  # FIPS 186-5, A.1.1
_WANTED = "the public key must be RSA, EC (P-256, P-384), Ed25519, X25519 or, where it is enabled, ML-DSA-65"


def given_key(public_key_pem: str | None, csr_pem: str | None) -> object:
    """The public key that comes with a request; of a CSR, only once it is proved that its maker has the private one."""
    if csr_pem is not None:
        return _from_csr(csr_pem)
    try:
        return load_pem_public_key((public_key_pem or "").encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"public_key_pem cannot be read; {_WANTED}") from error


def _from_csr(pem: str) -> object:
    """RFC 2986: its signature is the proof of possession. Whatever else it asks for is not looked at."""
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        proved, key = csr.is_signature_valid, csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"csr_pem cannot be read; {_WANTED}") from error
    if not proved:
        raise ValueError("the signature of csr_pem does not verify with the public key in it")
    only_block(pem, csr.public_bytes(Encoding.DER), "csr_pem")
    return key


def only_block(pem: str, encoded: bytes, field: str) -> None:
    """Nothing may stand beside what was read: neither in its DER nor around its block."""
    lines = pem.strip().splitlines()
    if not (lines[0].startswith("-----BEGIN ") and lines[-1].startswith("-----END ")):
        raise ValueError(f"there is more in {field} than one block")
    try:
        said = base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"there is more in {field} than one block of base64") from error
    if said != encoded:
        raise ValueError(f"what is in {field} is not DER, or something follows it")


def fit(key: object, profile: Profile, *, ml_dsa: bool) -> SubjectKey:
    """The key, where it is strong enough, and of a type that *profile* takes."""
    known = _known(key, ml_dsa=ml_dsa)
    bits = known.key_size if isinstance(known, rsa.RSAPublicKey) else None
    if (problem := check_key(profile, key_type(known), bits)) is not None:
        raise ValueError(problem)
    return known


def _known(key: object, *, ml_dsa: bool) -> SubjectKey:
    match key:
        case rsa.RSAPublicKey():
            if not _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
                raise ValueError(f"an RSA key must have {_SMALLEST_RSA} to {_LARGEST_RSA} bits, not {key.key_size}")
            if key.public_numbers().e < _SMALLEST_EXPONENT:
                raise ValueError(f"an RSA key must have a public exponent of {_SMALLEST_EXPONENT} or more")
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
            raise ValueError(_WANTED)


def signing(key: object) -> SigningKey:
    if isinstance(key, SigningKey):
        return key
    raise ValueError("an issuer's key must be one that signs")


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
    """What an authority with this key signs with: the digest is as strong as the key (SP 800-78-5, table 3)."""
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
    """RFC 7093, section 2, method 1: as RFC 5280 has it, with SHA-256 in the place of SHA-1."""
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
