"""Import and derivation of keys: at most one key for each id, also across crashes.

The one-time key is erased after the key and the digest of the request are stored: the same request repeated gives the
same result, and no other request succeeds (docs/adr/0011).
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic_core import to_json

from services.key.crypto.algorithms import PrivateKey, generate, public_key_info
from services.key.crypto.derivation import PassphraseInvalidError, derivation_of, derive
from services.key.crypto.foreign_keys import ForeignKeyError, load_foreign_key, require_proof
from services.key.effects import (
    ConcurrentKeyPair,
    DeriveKeyPair,
    ImportFailed,
    ImportKeyPair,
    KeyPairDerived,
    KeyPairImported,
    NewKey,
    NewKeyResult,
    PrepareRecipient,
    RecipientPrepared,
)
from services.key.secrets.entries import Entries, StoredKey, recipient_name
from services.key.secrets.sealing import UnreadableError
from shared.contracts.key.value_types import Algorithm, Purpose, import_proof, sealing_info

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ImportedKeys:
    """Performs imports and derivations. Idempotent by key id and request, also across processes and crashes."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        # One derivation uses 256 MiB: run one at a time.
        self._derivations = asyncio.Semaphore(1)

    async def prepare(self, request: PrepareRecipient) -> NewKeyResult:
        name = recipient_name(request.key_id)
        new = NewKey(key_id=name, algorithm=Algorithm.X25519, purpose=Purpose.KEY_MANAGEMENT)
        one_time = await self._entries.create_recipient(new, generate(Algorithm.X25519))
        return RecipientPrepared(request, _public(one_time))

    async def perform(self, request: ImportKeyPair | DeriveKeyPair) -> NewKeyResult:
        found = await self._entries.find(request.key_id)  # raises DestroyedError
        stored_digest = await self._entries.read(_digest_kv_key(request.key_id))
        if stored_digest is None:
            try:
                private = await self._open(request)
            except (ForeignKeyError, PassphraseInvalidError) as error:
                return ImportFailed(request, str(error))
            if not _matches(found or await self._entries.create(request, private), request, private):
                return ConcurrentKeyPair(request)
            stored_digest = await self._entries.put_once(_digest_kv_key(request.key_id), _digest(request))
        if stored_digest != _digest(request):
            return ConcurrentKeyPair(request)
        await self._entries.erase_recipient(request.key_id)
        _, private = await self._entries.require(request.key_id)
        public = public_key_info(private)
        if isinstance(request, ImportKeyPair):
            return KeyPairImported(request, public.pem, public.fingerprint_sha256)
        derivation = derivation_of(request.organization, request.path)
        return KeyPairDerived(
            request=request,
            public_key_pem=public.pem,
            fingerprint_sha256=public.fingerprint_sha256,
            derivation=derivation,
        )

    async def _open(self, request: ImportKeyPair | DeriveKeyPair) -> PrivateKey:
        one_time = await self._entries.recipient(request.key_id)
        if not isinstance(one_time, X25519PrivateKey):
            raise UnreadableError("the one-time key of this import is not in KEYS_SECRETS; restore the bucket")
        if isinstance(request, ImportKeyPair):
            content = _unseal(request.sealed_key, one_time, request.key_id, "sealed_key")
            # Validating an RSA key takes 84 ms.
            private = await asyncio.to_thread(load_foreign_key, content, request.algorithm, request.public_key_pem)
            if request.algorithm is not Algorithm.X25519:
                message = import_proof(request.key_id, _public(one_time))
                require_proof(private, request.algorithm, request.proof or b"", message)
            return private
        passphrase = _unseal(request.sealed_passphrase, one_time, request.key_id, "sealed_passphrase")
        derivation = derivation_of(request.organization, request.path)
        async with self._derivations:
            return await asyncio.to_thread(derive, passphrase, derivation, request.algorithm)


def _unseal(sealed: bytes, one_time: X25519PrivateKey, key_id: str, field: str) -> bytes:
    try:
        return SUITE.decrypt(sealed, one_time, sealing_info(key_id))
    except (InvalidTag, ValueError):
        raise ForeignKeyError(
            f"{field} does not open: seal it by HPKE to the recipient_public_key of key.prepare-import for this "
            "key_id, with sealing_info(key_id) as info"
        ) from None


def _matches(stored: StoredKey, request: NewKey, private: PrivateKey) -> bool:
    entry, stored_private = stored
    same_key = public_key_info(stored_private) == public_key_info(private)
    return same_key and (entry.algorithm, entry.purpose) == (request.algorithm, request.purpose)


def _digest(request: ImportKeyPair | DeriveKeyPair) -> bytes:
    """Identifies a request. The input is ciphertext and public data, so that the digest reveals nothing."""
    return sha256(to_json(asdict(request), bytes_mode="base64")).hexdigest().encode()


def _digest_kv_key(key_id: str) -> str:
    return f"{recipient_name(key_id)}.served"


def _public(private: PrivateKey) -> bytes:
    if not isinstance(private, X25519PrivateKey):
        raise UnreadableError("the one-time key of this import is no X25519 key; restore the bucket")
    return private.public_key().public_bytes_raw()
