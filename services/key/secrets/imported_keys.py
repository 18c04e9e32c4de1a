"""How a key that was sealed to us is taken over, and how one is derived: once for each id, whatever crashes.

The one-time key, to which both are sealed, is erased only when the key is stored and it is noted by which request: so
that request, made again, is answered the same, and no other is (docs/adr/0011).
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic_core import to_json

from services.key.crypto.algorithms import PrivateKey, generate, public_half
from services.key.crypto.derivation import PassphraseUnfitError, derivation_of, derive
from services.key.crypto.foreign_keys import NotTheKeyError, judged, require_proof
from services.key.origins import (
    AnotherCameFirst,
    Came,
    DeriveKeyPair,
    KeyPairDerived,
    NewKey,
    NotTakenOver,
    PrepareRecipient,
    RecipientPrepared,
    TakenOver,
    TakeOver,
)
from services.key.secrets.entries import Entries, Held, recipient_of
from services.key.secrets.sealing import UnreadableError
from shared.contracts.key.value_types import Algorithm, Purpose, import_proof, sealing_info

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Importing:
    """Each effect is idempotent by the key's id and what is asked for it, also across processes and crashes."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        # One derivation takes 256 MiB: several at once must not take the machine's memory.
        self._deriving = asyncio.Semaphore(1)

    async def prepare(self, request: PrepareRecipient) -> Came:
        name = recipient_of(request.key_id)
        new = NewKey(name, Algorithm.X25519, Purpose.KEY_MANAGEMENT)
        one_time = await self._entries.keep_recipient(new, generate(Algorithm.X25519))
        return RecipientPrepared(request, _public(one_time))

    async def take(self, request: TakeOver | DeriveKeyPair) -> Came:
        found = await self._entries.find(request.key_id)  # it may be destroyed
        served = await self._entries.read(_served_place(request.key_id))
        if served is None:
            try:
                private = await self._opened(request)
            except (NotTheKeyError, PassphraseUnfitError) as error:
                return NotTakenOver(request, str(error))
            if not _is(found or await self._entries.keep(request, private), request, private):
                return AnotherCameFirst(request)
            served = await self._entries.once(_served_place(request.key_id), _digest(request))
        if served != _digest(request):
            return AnotherCameFirst(request)
        await self._entries.forget_recipient(request.key_id)
        _, private = await self._entries.existing(request.key_id)
        public = public_half(private)
        if isinstance(request, TakeOver):
            return TakenOver(request, public.pem, public.fingerprint_sha256)
        derivation = derivation_of(request.organization, request.path)
        return KeyPairDerived(request, public.pem, public.fingerprint_sha256, derivation)

    async def _opened(self, request: TakeOver | DeriveKeyPair) -> PrivateKey:
        one_time = await self._entries.recipient(request.key_id)
        if not isinstance(one_time, X25519PrivateKey):
            raise UnreadableError("the key that it was sealed to is not in KEYS_SECRETS; restore the bucket")
        if isinstance(request, TakeOver):
            content = _unsealed(request.sealed_key, one_time, request.key_id, "sealed_key")
            # Proving the numbers of an RSA key takes 84 ms: pki-notes.md.
            private = await asyncio.to_thread(judged, content, request.algorithm, request.public_key_pem)
            if request.algorithm is not Algorithm.X25519:
                message = import_proof(request.key_id, _public(one_time))
                require_proof(private, request.algorithm, request.proof or b"", message)
            return private
        passphrase = _unsealed(request.sealed_passphrase, one_time, request.key_id, "sealed_passphrase")
        derivation = derivation_of(request.organization, request.path)
        async with self._deriving:
            return await asyncio.to_thread(derive, passphrase, derivation, request.algorithm)


def _unsealed(sealed: bytes, one_time: X25519PrivateKey, key_id: str, field: str) -> bytes:
    try:
        return SUITE.decrypt(sealed, one_time, sealing_info(key_id))
    except (InvalidTag, ValueError):
        raise NotTheKeyError(
            f"{field} does not open: seal it by HPKE to the recipient_public_key that key.prepare-import told for this "
            "key_id, with sealing_info(key_id) as info"
        ) from None


def _is(held: Held, request: NewKey, private: PrivateKey) -> bool:
    entry, kept = held
    same_key = public_half(kept) == public_half(private)
    return same_key and (entry.algorithm, entry.purpose) == (request.algorithm, request.purpose)


def _digest(request: TakeOver | DeriveKeyPair) -> bytes:
    """What tells one request from another. It is of ciphertext and public facts: nothing can be guessed from it."""
    return sha256(to_json(asdict(request), bytes_mode="base64")).hexdigest().encode()


def _served_place(key_id: str) -> str:
    return f"{recipient_of(key_id)}.served"


def _public(private: PrivateKey) -> bytes:
    if not isinstance(private, X25519PrivateKey):
        raise UnreadableError("what was prepared for it is no X25519 key; restore the bucket")
    return private.public_key().public_bytes_raw()
