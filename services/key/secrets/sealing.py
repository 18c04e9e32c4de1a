"""How a private key lies in KEYS_SECRETS: under a data key of its own, which the key-encryption key wraps."""

from __future__ import annotations

import json
import os
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.key.origins import NewKey
from services.key.secrets.keyring import Keyring
from shared.contracts.base import Base64
from shared.contracts.key.value_types import Algorithm, Purpose

_DATA_KEY_BITS = 256
_NONCE_LENGTH = 12  # NIST SP 800-38D, 8.2; a data key seals one thing once, so a nonce cannot repeat under it


class UnreadableError(Exception):
    """A private key that should be there cannot be had; the message says why, without a word of its content."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    key_id: str


class Entry(_Document):
    """A private key, sealed under a data key of its own, which the key-encryption key wraps."""

    algorithm: Algorithm
    purpose: Purpose
    kek_id: str
    wrapped_data_key: Base64
    nonce: Base64
    ciphertext: Base64


class Tombstone(_Document):
    """What is left of a destroyed key, so that its id is never used again."""

    destroyed: Literal[True] = True


_DOCUMENT: TypeAdapter[Entry | Tombstone] = TypeAdapter(Entry | Tombstone)


def read(value: bytes) -> Entry | Tombstone:
    try:
        return _DOCUMENT.validate_json(value)
    except ValidationError:
        raise UnreadableError("its entry in KEYS_SECRETS is not one of the key service; restore it") from None


def seal(keyring: Keyring, request: NewKey, pkcs8: bytes) -> Entry:
    data_key, nonce = AESGCM.generate_key(_DATA_KEY_BITS), os.urandom(_NONCE_LENGTH)
    bound = _bound(request.key_id, request.algorithm, request.purpose)
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
    """The PKCS#8 in *entry*, which must be that of *key_id*."""
    try:
        data_key = keyring.unwrap(entry.kek_id, entry.wrapped_data_key)
        return AESGCM(data_key).decrypt(entry.nonce, entry.ciphertext, _bound(key_id, entry.algorithm, entry.purpose))
    except (InvalidUnwrap, InvalidTag, ValueError):
        raise UnreadableError("its entry in KEYS_SECRETS was altered; restore it") from None


def _bound(key_id: str, algorithm: Algorithm, purpose: Purpose) -> bytes:
    """What a sealed key is bound to: put in another's place, or called something else, it does not open."""
    facts = {"v": 1, "key_id": key_id, "algorithm": algorithm, "purpose": purpose}
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
