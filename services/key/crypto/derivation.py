"""Deterministic derivation of a key from an organisation's passphrase and a path (docs/adr/0011)."""

from __future__ import annotations

import unicodedata
from hashlib import sha256
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.key.crypto.algorithms import PrivateKey
from shared.contracts.key.value_types import Algorithm, Derivation

MIN_PASSPHRASE_CHARACTERS = 20
_MAX_PASSPHRASE_CHARACTERS = 1024
_MEMORY_KIB, _ITERATIONS, _LANES = 256 * 1024, 3, 4
_SEED_OCTETS = 32
_DOMAIN = b"cim-keys/derive/v1/"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186, 3.2.1.3
_P384_ORDER = int(  # SP 800-186, 3.2.1.4
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
_EXTRA_OCTETS = 8  # 64 bits more than the order, so that the modular reduction has no relevant bias: FIPS 186-5, A.2.1


class PassphraseInvalidError(ValueError):
    """An unacceptable passphrase. The message contains no part of it."""


def derivation_of(organization: str, path: str) -> Derivation:
    """Returns the derivation record of a new key. It holds all parameters, so that older keys can be derived again."""
    name = unicodedata.normalize("NFC", organization).encode()
    return Derivation(
        organization=organization,
        path=path,
        salt=sha256(_DOMAIN + b"organization/" + name).digest(),
        memory_kib=_MEMORY_KIB,
        iterations=_ITERATIONS,
        lanes=_LANES,
    )


def derive(passphrase: bytes, derivation: Derivation, algorithm: Algorithm) -> PrivateKey:
    """Derives a key, which blocks for most of a second and uses *memory_kib*. Raises PassphraseInvalidError."""
    seed = Argon2id(
        salt=derivation.salt,
        length=_SEED_OCTETS,
        iterations=derivation.iterations,
        lanes=derivation.lanes,
        memory_cost=derivation.memory_kib,
    ).derive(_normalize(passphrase))
    for segment in derivation.path.split("/"):
        seed = _expand(seed, segment.encode(), _SEED_OCTETS)
    return _key(seed, algorithm)


def _normalize(passphrase: bytes) -> bytes:
    """Normalizes to NFC, like OpaqueString of RFC 8265, so that all keyboards give the same key."""
    try:
        text = unicodedata.normalize("NFC", passphrase.decode())
    except UnicodeDecodeError:
        raise PassphraseInvalidError("the passphrase is not UTF-8 text") from None
    if len(text) < MIN_PASSPHRASE_CHARACTERS:
        raise PassphraseInvalidError(
            f"the passphrase is shorter than {MIN_PASSPHRASE_CHARACTERS} characters: "
            "use six words chosen at random from a list"
        )
    if len(text) > _MAX_PASSPHRASE_CHARACTERS:
        raise PassphraseInvalidError(f"the passphrase is longer than {_MAX_PASSPHRASE_CHARACTERS} characters")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise PassphraseInvalidError("the passphrase contains a control character, perhaps a line end")
    return text.encode()


def _key(node: bytes, algorithm: Algorithm) -> PrivateKey:
    """Derives the key of a node. Its HKDF info has a slash, which no segment has, so no child seed equals a key."""

    def material(length: int) -> bytes:
        return _expand(node, b"key/" + algorithm.encode(), length)

    match algorithm:
        case Algorithm.EC_P256:
            return ec.derive_private_key(_scalar(material(32 + _EXTRA_OCTETS), _P256_ORDER), ec.SECP256R1())
        case Algorithm.EC_P384:
            return ec.derive_private_key(_scalar(material(48 + _EXTRA_OCTETS), _P384_ORDER), ec.SECP384R1())
        case Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(material(_SEED_OCTETS))
        case Algorithm.X25519:
            return x25519.X25519PrivateKey.from_private_bytes(material(_SEED_OCTETS))
        case Algorithm.ML_DSA_65:
            return mldsa.MLDSA65PrivateKey.from_seed_bytes(material(_SEED_OCTETS))
        case Algorithm.RSA_2048 | Algorithm.RSA_3072 | Algorithm.RSA_4096:
            raise TypeError(f"{algorithm} keys are not derived")
        case _:
            assert_never(algorithm)


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=_DOMAIN + info).derive(key)


def _scalar(bits: bytes, order: int) -> int:
    return int.from_bytes(bits) % (order - 1) + 1
