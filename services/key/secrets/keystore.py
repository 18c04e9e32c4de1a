"""The keystore: performs all effects that touch a private key. Private keys are nowhere else."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from services.key.crypto.algorithms import (
    PrivateKey,
    generate,
    is_deterministic,
    is_rsa,
    public_key_info,
    sign,
)
from services.key.crypto.private_formats import CertificatesInvalidError, encode_private_key
from services.key.custody.ca_register import UnreadableRegisterError
from services.key.custody.custodian import Custodian
from services.key.custody.tbs import NotSignableError
from services.key.effects import (
    AlgorithmDisabled,
    BatchSigned,
    BindCertificate,
    CaCertificateInvalid,
    CaCertificateRegistered,
    CertificatesInvalid,
    CreateKeyPair,
    DeriveKeyPair,
    ErasePrivateKey,
    ImportKeyPair,
    KeyIdTaken,
    KeyPairCreated,
    KeystoreEffect,
    Outcome,
    PrepareRecipient,
    PrivateKeyDestroyed,
    PrivateKeyEffect,
    PrivateKeyErased,
    PrivateKeySealed,
    PrivateKeyUnavailable,
    RecipientInvalid,
    SealPrivateKey,
    Sign,
    Signed,
    SigningDenied,
    SignMessages,
)
from services.key.purposes import SIGNATURE_ALGORITHMS
from services.key.secrets.entries import DestroyedError, Entries
from services.key.secrets.imported_keys import SUITE as EXPORT_SUITE
from services.key.secrets.imported_keys import ImportedKeys
from services.key.secrets.keyring import Keyring
from services.key.secrets.sealing import Entry, UnreadableError
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm, sealing_info
from shared.nats.kv import KeyValue


class Keystore:
    """Performs effects on private keys; each is idempotent by key id, also across processes and crashes."""

    def __init__(self, bucket: KeyValue, keyring: Keyring, *, ml_dsa: bool = False) -> None:
        self._entries = Entries(bucket, keyring)
        self._imported_keys = ImportedKeys(self._entries)
        self._custodian = Custodian(bucket)
        self._ml_dsa = ml_dsa
        # asyncio.to_thread has four more threads than processors; key generation leaves those four to shorter work.
        self._generations = asyncio.Semaphore(os.cpu_count() or 1)

    async def perform(self, effect: KeystoreEffect) -> Outcome:
        if isinstance(effect, ErasePrivateKey):
            await self._entries.erase_key(effect.key_id)
            return PrivateKeyErased(effect)
        try:
            return await self._use(effect)
        except DestroyedError:
            return PrivateKeyDestroyed(effect)
        except (UnreadableError, UnreadableRegisterError) as error:
            return PrivateKeyUnavailable(effect, str(error))

    async def _use(self, effect: PrivateKeyEffect) -> Outcome:
        match effect:
            case CreateKeyPair() | ImportKeyPair() | DeriveKeyPair():
                if effect.algorithm is Algorithm.ML_DSA_65 and not self._ml_dsa:
                    return AlgorithmDisabled(effect, effect.algorithm)
                if isinstance(effect, CreateKeyPair):
                    return await self._create(effect)
                return await self._imported_keys.perform(effect)
            case PrepareRecipient():
                await self._entries.find(effect.key_id)  # raises DestroyedError: a destroyed id is not prepared again
                return await self._imported_keys.prepare(effect)
            case Sign() | SignMessages():
                if effect.signature_algorithm is SignatureAlgorithm.ML_DSA_65 and not self._ml_dsa:
                    return AlgorithmDisabled(effect, Algorithm.ML_DSA_65)
                return await self._sign(effect)
            case SealPrivateKey():
                return await self._seal_to_recipient(effect)
            case BindCertificate():
                return await self._bind(effect)
            case _:
                assert_never(effect)

    async def _create(self, request: CreateKeyPair) -> Outcome:
        """Creates the key pair; a repeated request returns the same public key."""
        found = await self._entries.find(request.key_id)
        if found is None:
            found = await self._entries.create(request, await self._generate(request.algorithm))
        entry, private = found
        if (entry.algorithm, entry.purpose) != (request.algorithm, request.purpose):
            return KeyIdTaken(request, entry.algorithm, entry.purpose)
        public = public_key_info(private)
        return KeyPairCreated(request, public.pem, public.fingerprint_sha256)

    async def _generate(self, algorithm: Algorithm) -> PrivateKey:
        if not is_rsa(algorithm):
            return generate(algorithm)
        async with self._generations:
            return await asyncio.to_thread(generate, algorithm)

    async def _sign(self, request: Sign | SignMessages) -> Outcome:
        """Signs after the custodian has examined every message; no other method signs."""
        entry, private = await self._entries.require(request.key_id)
        messages = (request.message,) if isinstance(request, Sign) else request.messages
        public, algorithm = private.public_key(), request.signature_algorithm
        try:
            for message in messages:
                await self._custodian.examine(request.key_id, entry.purpose, public, algorithm, message)
        except NotSignableError as error:
            return SigningDenied(request, entry.purpose, str(error))
        signatures = await self._signatures(entry, private, request.signature_algorithm, messages)
        return Signed(request, signatures[0]) if isinstance(request, Sign) else BatchSigned(request, signatures)

    async def _signatures(
        self, entry: Entry, private: PrivateKey, algorithm: SignatureAlgorithm, messages: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        def make() -> tuple[bytes, ...]:
            return tuple(sign(private, algorithm, message) for message in messages)

        if is_deterministic(algorithm):
            return await asyncio.to_thread(make) if is_rsa(entry.algorithm) or len(messages) > 1 else make()
        return tuple([await self._stored_signature(entry, private, algorithm, message) for message in messages])

    async def _stored_signature(
        self, entry: Entry, private: PrivateKey, algorithm: SignatureAlgorithm, message: bytes
    ) -> bytes:
        """Returns the stored signature of *message*, or a new one: randomized algorithms sign the same bytes once."""
        kv_key = _signature_kv_key(entry, algorithm, message)
        stored = await self._entries.read(kv_key)
        return stored if stored is not None else await self._entries.put_once(kv_key, sign(private, algorithm, message))

    async def _seal_to_recipient(self, request: SealPrivateKey) -> Outcome:
        entry, private = await self._entries.require(request.key_id)
        recipient = X25519PublicKey.from_public_bytes(request.recipient_public_key)
        try:
            content = encode_private_key(private, entry.purpose, request.format, request.certificates_pem)
        except CertificatesInvalidError as error:
            return CertificatesInvalid(request, str(error))
        try:
            sealed = EXPORT_SUITE.encrypt(content, recipient, sealing_info(request.key_id))
        except ValueError:  # a point of low order: the shared secret would be zero (RFC 7748, 6.1)
            return RecipientInvalid(request)
        return PrivateKeySealed(request, sealed, entry.algorithm)

    async def _bind(self, request: BindCertificate) -> Outcome:
        _, private = await self._entries.require(request.key_id)
        try:
            fingerprint = await self._custodian.bind(request.key_id, private.public_key(), request.certificate_pem)
        except NotSignableError as error:
            return CaCertificateInvalid(request, str(error))
        return CaCertificateRegistered(request, fingerprint)


def _signature_kv_key(entry: Entry, algorithm: SignatureAlgorithm, message: bytes) -> str:
    kv_key = f"signature.{entry.key_id}.{sha256(message).hexdigest()}"
    return kv_key if algorithm is SIGNATURE_ALGORITHMS[entry.algorithm][0] else f"{kv_key}.{algorithm}"
