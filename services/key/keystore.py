"""The one place where private keys are: made, kept in KEYS_SECRETS under envelope encryption, used, destroyed."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from services.key.algorithms import (
    PrivateKey,
    from_pkcs8,
    generate,
    is_slow,
    public_half,
    sign,
    to_pkcs8,
)
from services.key.custody.custodian import Custodian
from services.key.custody.tbs import NotToBeSignedError
from services.key.effects import (
    AuthorityNoted,
    BindCertificate,
    CreateKeyPair,
    Effect,
    KeyGone,
    KeyOutOfReach,
    KeyPairCreated,
    KeyPairDiffers,
    KeySealed,
    NotAnAuthority,
    NotToBeSigned,
    Outcome,
    RecipientUnfit,
    SealKey,
    Shred,
    Shredded,
    Sign,
    Signed,
)
from services.key.kek import KeyEncryptionKey
from services.key.sealing import Entry, Tombstone, UnreadableError, open_entry, read, seal
from shared.contracts.keying import sealing_info
from shared.errors import Conflict
from shared.kv import KeyValue

EXPORT_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_REMEMBERED = 64
_MOST_CONFLICTS = 10


class _GoneError(Exception):
    """The private key was destroyed."""


class Keystore:
    """Performs the decider's effects; each is idempotent by the key's id, also across processes and crashes."""

    def __init__(self, bucket: KeyValue, kek: KeyEncryptionKey) -> None:
        self._bucket = bucket
        self._kek = kek
        self._custodian = Custodian(bucket)
        self._loaded: OrderedDict[str, tuple[Entry, PrivateKey]] = OrderedDict()
        # asyncio.to_thread has four threads more than processors: generation leaves those to quicker work.
        self._generating = asyncio.Semaphore(os.cpu_count() or 1)

    async def perform(self, effect: Effect) -> Outcome:
        match effect:
            case CreateKeyPair() | Sign() | BindCertificate() | SealKey():
                try:
                    return await self._use(effect)
                except _GoneError:
                    return KeyGone(effect)
                except UnreadableError as error:
                    return KeyOutOfReach(effect, str(error))
            case Shred():
                return await self._shred(effect)
            case _:
                assert_never(effect)

    async def _use(self, effect: CreateKeyPair | Sign | BindCertificate | SealKey) -> Outcome:
        match effect:
            case CreateKeyPair():
                return await self._create(effect)
            case Sign():
                return await self._sign(effect)
            case BindCertificate():
                return await self._bind(effect)
            case SealKey():
                return await self._seal_to_recipient(effect)
            case _:
                assert_never(effect)

    async def _create(self, request: CreateKeyPair) -> Outcome:
        """Make the pair once: asked again for the same id, it answers with the same public key."""
        found = await self._find(request.key_id) or await self._make(request)
        if found is None:  # another process was first: its key stands
            found = await self._existing(request.key_id)
        entry, private = found
        if (entry.algorithm, entry.purpose) != (request.algorithm, request.purpose):
            return KeyPairDiffers(request, entry.algorithm, entry.purpose)
        public = public_half(private)
        return KeyPairCreated(request, public.pem, public.fingerprint_sha256)

    async def _make(self, request: CreateKeyPair) -> tuple[Entry, PrivateKey] | None:
        if is_slow(request.algorithm):
            async with self._generating:
                private = await asyncio.to_thread(generate, request.algorithm)
        else:
            private = generate(request.algorithm)
        entry = seal(self._kek, request, to_pkcs8(private))
        try:
            await self._bucket.put(_place(request.key_id), entry.model_dump_json().encode(), revision=0)
        except Conflict:
            return None
        return self._remember(entry, private)

    async def _sign(self, request: Sign) -> Outcome:
        entry, private = await self._existing(request.key_id)
        examined = request.key_id, entry.purpose, private.public_key(), request.signature_algorithm, request.message
        try:
            await self._custodian.examine(*examined)
        except NotToBeSignedError as error:
            return NotToBeSigned(request, entry.purpose, str(error))
        if is_slow(entry.algorithm):
            signature = await asyncio.to_thread(sign, private, request.signature_algorithm, request.message)
        else:
            signature = sign(private, request.signature_algorithm, request.message)
        return Signed(request, signature)

    async def _bind(self, request: BindCertificate) -> Outcome:
        _, private = await self._existing(request.key_id)
        try:
            fingerprint = await self._custodian.bind(request.key_id, private.public_key(), request.certificate_pem)
        except NotToBeSignedError as error:
            return NotAnAuthority(request, str(error))
        return AuthorityNoted(request, fingerprint)

    async def _seal_to_recipient(self, request: SealKey) -> Outcome:
        entry, private = await self._existing(request.key_id)
        recipient = X25519PublicKey.from_public_bytes(request.recipient_public_key)
        pkcs8 = to_pkcs8(private)
        try:
            sealed = EXPORT_SUITE.encrypt(pkcs8, recipient, sealing_info(request.key_id))
        except ValueError:  # a point of low order: the shared secret would be no secret (RFC 7748, 6.1)
            return RecipientUnfit(request)
        return KeySealed(request, sealed, entry.algorithm)

    async def _shred(self, request: Shred) -> Outcome:
        """Overwrite the sealed key where it lies, then leave a tombstone; begun again, it ends the same."""
        self._loaded.pop(request.key_id, None)
        tombstone = Tombstone(key_id=request.key_id).model_dump_json().encode()
        for _ in range(_MOST_CONFLICTS):
            document = await self._bucket.get(_place(request.key_id))
            if document is not None:
                if document.value == tombstone:
                    return Shredded(request)
                await self._bucket.erase(document)
            try:
                await self._bucket.put(_place(request.key_id), tombstone, revision=0)
            except Conflict:
                continue  # somebody put one there meanwhile, or the erasure has not happened: look again
            return Shredded(request)
        raise Conflict(f"the entry of key {request.key_id} cannot be erased: it is there again every time")

    async def _existing(self, key_id: str) -> tuple[Entry, PrivateKey]:
        if (loaded := self._loaded.get(key_id)) is not None:
            self._loaded.move_to_end(key_id)
            return loaded
        found = await self._find(key_id)
        if found is None:
            raise UnreadableError("it has no entry in KEYS_SECRETS; restore the bucket")
        return found

    async def _find(self, key_id: str) -> tuple[Entry, PrivateKey] | None:
        document = await self._bucket.get(_place(key_id))
        if document is None:
            return None
        entry = read(document.value)
        if isinstance(entry, Tombstone):
            raise _GoneError
        return self._remember(entry, from_pkcs8(open_entry(self._kek, entry, key_id)))

    def _remember(self, entry: Entry, private: PrivateKey) -> tuple[Entry, PrivateKey]:
        self._loaded[entry.key_id] = entry, private
        self._loaded.move_to_end(entry.key_id)
        if len(self._loaded) > _REMEMBERED:
            self._loaded.popitem(last=False)
        return entry, private


def _place(key_id: str) -> str:
    return f"key.{key_id}"
