"""The one place where private keys are: made, kept in KEYS_SECRETS under envelope encryption, used, destroyed."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from services.key.crypto.algorithms import (
    PrivateKey,
    generate,
    is_repeatable,
    is_slow,
    public_half,
    sign,
)
from services.key.crypto.private_formats import CertificatesUnfitError, written
from services.key.custody.custodian import Custodian
from services.key.custody.tbs import NotToBeSignedError
from services.key.effects import (
    AlgorithmDisabled,
    AuthorityNoted,
    BindCertificate,
    CertificatesUnfit,
    CustodyEffect,
    KeyGone,
    KeyOutOfReach,
    KeySealed,
    ManySigned,
    NotAnAuthority,
    NotToBeSigned,
    Outcome,
    RecipientUnfit,
    SealKey,
    Shred,
    Shredded,
    Sign,
    Signed,
    SignMany,
    Use,
)
from services.key.origins import (
    CreateKeyPair,
    DeriveKeyPair,
    KeyPairCreated,
    KeyPairDiffers,
    PrepareRecipient,
    TakeOver,
)
from services.key.purposes import FITTING
from services.key.secrets.entries import Entries, GoneError
from services.key.secrets.imported_keys import SUITE as EXPORT_SUITE
from services.key.secrets.imported_keys import Importing
from services.key.secrets.keyring import Keyring
from services.key.secrets.sealing import Entry, UnreadableError
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm, sealing_info
from shared.nats.kv import KeyValue


class Keystore:
    """Performs the decider's effects; each is idempotent by the key's id, also across processes and crashes."""

    def __init__(self, bucket: KeyValue, keyring: Keyring, *, ml_dsa: bool = False) -> None:
        self._entries = Entries(bucket, keyring)
        self._importing = Importing(self._entries)
        self._custodian = Custodian(bucket)
        self._ml_dsa = ml_dsa
        # asyncio.to_thread has four threads more than processors: generation leaves those to quicker work.
        self._generating = asyncio.Semaphore(os.cpu_count() or 1)

    async def perform(self, effect: CustodyEffect) -> Outcome:
        if isinstance(effect, Shred):
            await self._entries.shred(effect.key_id)
            return Shredded(effect)
        try:
            return await self._use(effect)
        except GoneError:
            return KeyGone(effect)
        except UnreadableError as error:
            return KeyOutOfReach(effect, str(error))

    async def _use(self, effect: Use) -> Outcome:
        match effect:
            case CreateKeyPair() | TakeOver() | DeriveKeyPair():
                if effect.algorithm is Algorithm.ML_DSA_65 and not self._ml_dsa:
                    return AlgorithmDisabled(effect, effect.algorithm)
                if isinstance(effect, CreateKeyPair):
                    return await self._create(effect)
                return await self._importing.take(effect)
            case PrepareRecipient():
                await self._entries.find(effect.key_id)  # what was destroyed is not prepared again
                return await self._importing.prepare(effect)
            case Sign() | SignMany():
                if effect.signature_algorithm is SignatureAlgorithm.ML_DSA_65 and not self._ml_dsa:
                    return AlgorithmDisabled(effect, Algorithm.ML_DSA_65)
                return await self._sign(effect)
            case SealKey():
                return await self._seal_to_recipient(effect)
            case BindCertificate():
                return await self._bind(effect)
            case _:
                assert_never(effect)

    async def _create(self, request: CreateKeyPair) -> Outcome:
        """Make the pair once: asked again for the same id, it answers with the same public key."""
        found = await self._entries.find(request.key_id)
        if found is None:
            found = await self._entries.keep(request, await self._generated(request.algorithm))
        entry, private = found
        if (entry.algorithm, entry.purpose) != (request.algorithm, request.purpose):
            return KeyPairDiffers(request, entry.algorithm, entry.purpose)
        public = public_half(private)
        return KeyPairCreated(request, public.pem, public.fingerprint_sha256)

    async def _generated(self, algorithm: Algorithm) -> PrivateKey:
        if not is_slow(algorithm):
            return generate(algorithm)
        async with self._generating:
            return await asyncio.to_thread(generate, algorithm)

    async def _sign(self, request: Sign | SignMany) -> Outcome:
        """All that any key here ever signs goes through this: it is examined before, all of it."""
        entry, private = await self._entries.existing(request.key_id)
        messages = (request.message,) if isinstance(request, Sign) else request.messages
        public, algorithm = private.public_key(), request.signature_algorithm
        try:
            for message in messages:
                await self._custodian.examine(request.key_id, entry.purpose, public, algorithm, message)
        except NotToBeSignedError as error:
            return NotToBeSigned(request, entry.purpose, str(error))
        signatures = await self._signatures(entry, private, request.signature_algorithm, messages)
        return Signed(request, signatures[0]) if isinstance(request, Sign) else ManySigned(request, signatures)

    async def _signatures(
        self, entry: Entry, private: PrivateKey, algorithm: SignatureAlgorithm, messages: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        def make() -> tuple[bytes, ...]:
            return tuple(sign(private, algorithm, message) for message in messages)

        if is_repeatable(algorithm):
            return await asyncio.to_thread(make) if is_slow(entry.algorithm) or len(messages) > 1 else make()
        return tuple([await self._kept(entry, private, algorithm, message) for message in messages])

    async def _kept(self, entry: Entry, private: PrivateKey, algorithm: SignatureAlgorithm, message: bytes) -> bytes:
        """The signature that was made first: told or not, there is no second one of the same bytes."""
        place = _signature_place(entry, algorithm, message)
        kept = await self._entries.read(place)
        return kept if kept is not None else await self._entries.once(place, sign(private, algorithm, message))

    async def _seal_to_recipient(self, request: SealKey) -> Outcome:
        entry, private = await self._entries.existing(request.key_id)
        recipient = X25519PublicKey.from_public_bytes(request.recipient_public_key)
        try:
            content = written(private, entry.purpose, request.format, request.certificates_pem)
        except CertificatesUnfitError as error:
            return CertificatesUnfit(request, str(error))
        try:
            sealed = EXPORT_SUITE.encrypt(content, recipient, sealing_info(request.key_id))
        except ValueError:  # a point of low order: the shared secret would be no secret (RFC 7748, 6.1)
            return RecipientUnfit(request)
        return KeySealed(request, sealed, entry.algorithm)

    async def _bind(self, request: BindCertificate) -> Outcome:
        _, private = await self._entries.existing(request.key_id)
        try:
            fingerprint = await self._custodian.bind(request.key_id, private.public_key(), request.certificate_pem)
        except NotToBeSignedError as error:
            return NotAnAuthority(request, str(error))
        return AuthorityNoted(request, fingerprint)


def _signature_place(entry: Entry, algorithm: SignatureAlgorithm, message: bytes) -> str:
    place = f"signature.{entry.key_id}.{sha256(message).hexdigest()}"
    return place if algorithm is FITTING[entry.algorithm][0] else f"{place}.{algorithm}"
