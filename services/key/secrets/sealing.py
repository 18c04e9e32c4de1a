"""Envelope encryption of private keys: each has its own data key, which the key-encryption key wraps."""

from __future__ import annotations

import json
import os
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.key.effects import NewKey
from services.key.secrets.keyring import Keyring
from shared.contracts.base import Base64
from shared.contracts.key.value_types import Algorithm, Purpose

_DATA_KEY_BITS = 256
_NONCE_LENGTH = 12  # NIST SP 800-38D, 8.2; each data key encrypts once, so a nonce cannot repeat


class UnreadableError(Exception):
    """A private key cannot be read. The message contains no part of the key."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    key_id: str


class Entry(_Document):
    """A sealed private key."""

    algorithm: Algorithm
    purpose: Purpose
    kek_id: str
    wrapped_data_key: Base64
    nonce: Base64
    ciphertext: Base64


class Tombstone(_Document):
    """Marks a destroyed key, so that its id is never used again."""

    destroyed: Literal[True] = True


_DOCUMENT: TypeAdapter[Entry | Tombstone] = TypeAdapter(Entry | Tombstone)


def read(value: bytes) -> Entry | Tombstone:
    try:
        return _DOCUMENT.validate_json(value)
    except ValidationError:
        raise UnreadableError("its entry in KEYS_SECRETS has an unknown format; restore it") from None


def seal(keyring: Keyring, request: NewKey, pkcs8: bytes) -> Entry:
    data_key, nonce = AESGCM.generate_key(_DATA_KEY_BITS), os.urandom(_NONCE_LENGTH)
    bound = _associated_data(request.key_id, request.algorithm, request.purpose)
    return Entry(
        key_id=request.key_id,
        algorithm=request.algorithm,
        purpose=request.purpose,
        kek_id=keyring.kek_id,
        wrapped_data_key=keyring.wrap(data_key),
        nonce=nonce,
        ciphertext=AESGCM(data_key).encrypt(nonce, pkcs8, bound),
    )


def open_entry(keyring: Keyring, entry: Entry, key_id: str) -> bytes:
    """Decrypts the PKCS#8 in *entry*, which must belong to *key_id*. Raises UnreadableError."""
    try:
        data_key = keyring.unwrap(entry.kek_id, entry.wrapped_data_key)
        return AESGCM(data_key).decrypt(
            entry.nonce, entry.ciphertext, _associated_data(key_id, entry.algorithm, entry.purpose)
        )
    except (InvalidUnwrap, InvalidTag, ValueError):
        raise UnreadableError("its entry in KEYS_SECRETS was altered; restore it") from None


def _associated_data(key_id: str, algorithm: Algorithm, purpose: Purpose) -> bytes:
    """Returns the associated data: an entry moved to another id, or relabelled, does not decrypt."""
    facts = {"v": 1, "key_id": key_id, "algorithm": algorithm, "purpose": purpose}
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
