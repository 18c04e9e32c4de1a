"""Import and derivation of keys on a real server: exactly once, despite crashes."""

import asyncio
from dataclasses import replace
from functools import cache, partial
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from services.key.crypto import algorithms
from services.key.effects import (
    AlgorithmDisabled,
    ConcurrentKeyPair,
    CreateKeyPair,
    DeriveKeyPair,
    ErasePrivateKey,
    ImportFailed,
    ImportKeyPair,
    KeyIdTaken,
    KeyPairDerived,
    KeyPairImported,
    PrepareRecipient,
    PrivateKeyDestroyed,
    PrivateKeyUnavailable,
    RecipientPrepared,
    Sign,
    Signed,
)
from services.key.purposes import SIGNATURE_ALGORITHMS, default_purpose
from services.key.secrets.imported_keys import SUITE
from services.key.secrets.kek import KeyFile, unlock
from services.key.secrets.keystore import Keystore
from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm, import_proof, sealing_info
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare

SECRET = KeyFile(bytes(range(32)))
PASSPHRASE = b"correct horse battery staple"


class Crash(Exception):
    """The process is gone between two writes."""


class Crashing(KeyValue):
    """A bucket whose process dies at its *left*-th change, before it or just after it."""

    left: ClassVar[dict[str, Any]] = {"changes": 0, "after": False}

    async def _perhaps(self, change):
        self.left["changes"] -= 1
        if self.left["changes"] == 0 and not self.left["after"]:
            raise Crash
        result = await change()
        if self.left["changes"] == 0:
            raise Crash
        return result

    async def put(self, *args, **kwargs):
        return await self._perhaps(partial(super().put, *args, **kwargs))

    async def erase(self, *args):
        return await self._perhaps(partial(super().erase, *args))


@cache
def private(algorithm, which=0):  # noqa: ARG001 - it is the key of the cache
    return algorithms.generate(algorithm)


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), "KEYS_SECRETS")


@pytest.fixture(name="keystore")
async def _keystore(bucket):
    return await another_process(bucket)


async def another_process(bucket):
    return Keystore(bucket, await unlock(bucket, SECRET), ml_dsa=True)


async def prepared(keystore, key_id=None):
    request = PrepareRecipient(key_id or str(new_id()))
    outcome = await keystore.perform(request)
    assert isinstance(outcome, RecipientPrepared)
    return request.key_id, outcome.recipient_public_key


def sealed(content, recipient, key_id):
    return SUITE.encrypt(content, X25519PublicKey.from_public_bytes(recipient), sealing_info(key_id))


def take(key_id, recipient, algorithm=Algorithm.EC_P256, key=None, **other):
    key = key or private(algorithm)
    proof = None
    if SIGNATURE_ALGORITHMS[algorithm]:
        proof = algorithms.sign(key, SIGNATURE_ALGORITHMS[algorithm][0], import_proof(key_id, recipient))
    request = ImportKeyPair(
        key_id=key_id,
        algorithm=algorithm,
        purpose=default_purpose(algorithm),
        sealed_key=sealed(algorithms.to_pkcs8(key), recipient, key_id),
        public_key_pem=algorithms.public_key_info(key).pem,
        proof=proof,
    )
    return replace(request, **other)


def derivation(key_id, recipient, algorithm=Algorithm.ED25519, path="pki/root/2026", passphrase=PASSPHRASE):
    return DeriveKeyPair(
        key_id=key_id,
        algorithm=algorithm,
        purpose=default_purpose(algorithm),
        sealed_passphrase=sealed(passphrase, recipient, key_id),
        organization="Example AG",
        path=path,
    )


def sign(key_id):
    return Sign(
        key_id=key_id,
        message=b"hello",
        signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )


async def keys_in(bucket):
    return sorted([document.key.split(".")[0] async for document in bucket.all() if "kek" not in document.key])


# -- importing -------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_key_of_any_kind_is_taken_over_and_is_the_same_after_a_restart(bucket, keystore, algorithm):
    request = take(*await prepared(keystore), algorithm)

    id_taken = await keystore.perform(request)

    public = algorithms.public_key_info(private(algorithm))
    assert id_taken == KeyPairImported(request, public.pem, public.fingerprint_sha256)
    assert await keystore.perform(request) == id_taken
    assert await (await another_process(bucket)).perform(request) == id_taken


async def test_what_was_prepared_is_the_same_for_all_who_ask(bucket, keystore):
    sibling, request = await another_process(bucket), PrepareRecipient(str(new_id()))

    answers = await asyncio.gather(*(store.perform(request) for store in (keystore, sibling) for _ in range(4)))

    assert len({answer.recipient_public_key for answer in answers}) == 1


async def test_the_one_time_key_is_erased_when_it_has_served(bucket, keystore):
    key_id, recipient = await prepared(keystore)
    one_time = await bucket.get(f"import.{key_id}")

    await keystore.perform(take(key_id, recipient))

    assert one_time is not None
    assert await bucket.get(f"import.{key_id}") is None
    assert isinstance(await keystore.perform(sign(key_id)), Signed)


async def test_a_one_time_key_in_a_key_s_place_does_not_open_there(bucket, keystore):
    key_id, _ = await prepared(keystore)
    document = await bucket.get(f"import.{key_id}")
    for place in (key_id, str(new_id())):
        await bucket.put(f"key.{place}", document.value, revision=0)

        assert isinstance(await keystore.perform(sign(place)), PrivateKeyUnavailable)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda key_id, recipient: take(key_id, recipient, sealed_key=b"sealed"), "sealed_key does not open"),
        (lambda key_id, _: take(key_id, other_recipient()), "sealed_key does not open"),
        (
            lambda key_id, recipient: take(
                key_id, recipient, sealed_key=sealed(algorithms.to_pkcs8(private(Algorithm.EC_P256)), recipient, "x")
            ),
            "sealed_key does not open",
        ),
        (
            lambda key_id, recipient: take(key_id, recipient, sealed_key=sealed(b"not a key", recipient, key_id)),
            "PKCS#8",
        ),
        (lambda key_id, recipient: take(key_id, recipient, algorithm=Algorithm.EC_P256, proof=b"no"), "proof"),
        (
            lambda key_id, recipient: take(
                key_id, recipient, public_key_pem=algorithms.public_key_info(private(Algorithm.EC_P256, 1)).pem
            ),
            "public_key_pem is not",
        ),
        (
            lambda key_id, recipient: replace(take(key_id, recipient), algorithm=Algorithm.EC_P384),
            "not ec-p384",
        ),
    ],
    ids=["rubbish", "another recipient", "another id", "no key", "no proof", "another public half", "another curve"],
)
async def test_what_is_not_right_is_refused_and_may_be_sent_again_rightly(bucket, keystore, wrong, word):
    key_id, recipient = await prepared(keystore)
    request = wrong(key_id, recipient)

    refused = await keystore.perform(request)

    assert isinstance(refused, ImportFailed)
    assert word in refused.reason
    assert await keys_in(bucket) == ["import"]
    assert isinstance(await keystore.perform(take(key_id, recipient)), KeyPairImported)


def other_recipient():
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


async def test_of_two_keys_sent_at_once_under_one_id_one_is_taken(bucket, keystore):
    key_id, recipient = await prepared(keystore)
    requests = [take(key_id, recipient, key=private(Algorithm.EC_P256, which)) for which in (0, 1)]

    sibling = await another_process(bucket)
    answers = await asyncio.gather(keystore.perform(requests[0]), sibling.perform(requests[1]))

    assert sorted(type(answer).__name__ for answer in answers) == ["ConcurrentKeyPair", "KeyPairImported"]


async def test_a_destroyed_key_is_not_imported_again(keystore):
    key_id, recipient = await prepared(keystore)
    await keystore.perform(take(key_id, recipient))
    await keystore.perform(ErasePrivateKey(key_id))

    for effect in (take(key_id, recipient), PrepareRecipient(key_id)):
        assert await keystore.perform(effect) == PrivateKeyDestroyed(effect)


async def test_a_prepared_id_that_is_destroyed_keeps_no_one_time_key(bucket, keystore):
    key_id, recipient = await prepared(keystore)

    await keystore.perform(ErasePrivateKey(key_id))

    assert await bucket.get(f"import.{key_id}") is None
    refused = await keystore.perform(take(key_id, recipient))
    assert isinstance(refused, PrivateKeyDestroyed | PrivateKeyUnavailable)


async def test_what_was_never_prepared_is_out_of_reach(keystore):
    request = take(str(new_id()), other_recipient())

    assert isinstance(await keystore.perform(request), PrivateKeyUnavailable)


# -- crashes ---------------------------------------------------------------------
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", [1, 2, 3], ids=["stored", "noted", "erased"])
@pytest.mark.parametrize("kind", ["import", "derive"])
async def test_whatever_change_a_crash_comes_at_the_same_request_ends_the_same(bucket, keystore, kind, change, after):
    key_id, recipient = await prepared(keystore)
    request = take(key_id, recipient) if kind == "import" else derivation(key_id, recipient)
    dying = await another_process(Crashing(bucket.js, bucket.bucket))
    Crashing.left |= {"changes": change, "after": after}
    with pytest.raises(Crash):
        await dying.perform(request)

    done = await (await another_process(bucket)).perform(request)

    assert isinstance(done, KeyPairImported if kind == "import" else KeyPairDerived)
    assert await (await another_process(bucket)).perform(request) == done
    assert await keys_in(bucket) == ["import", "key"]
    assert await bucket.get(f"import.{key_id}") is None


@pytest.mark.parametrize("change", [1, 2, 3])
async def test_after_a_crash_no_other_request_is_answered_with_the_key_of_the_first(bucket, keystore, change):
    key_id, recipient = await prepared(keystore)
    dying = await another_process(Crashing(bucket.js, bucket.bucket))
    Crashing.left |= {"changes": change, "after": True}
    with pytest.raises(Crash):
        await dying.perform(derivation(key_id, recipient))

    other = derivation(key_id, recipient, path="pki/root/2027")

    assert await keystore.perform(other) == ConcurrentKeyPair(other)
    assert isinstance(await keystore.perform(derivation(key_id, recipient)), ConcurrentKeyPair | KeyPairDerived)


# -- deriving --------------------------------------------------------------------
async def test_the_same_passphrase_and_path_lead_to_the_same_key_under_any_id(keystore):
    made = [await keystore.perform(derivation(*await prepared(keystore), Algorithm.EC_P256)) for _ in range(2)]
    other = await keystore.perform(derivation(*await prepared(keystore), Algorithm.EC_P256, path="pki/root/2027"))

    assert isinstance(made[0], KeyPairDerived)
    assert made[0].public_key_pem == made[1].public_key_pem != other.public_key_pem
    assert made[0].fingerprint_sha256 == "01822392d07bc394129dc22ad7654187d874439353c28d749df7c75c2f4cc9d8"
    assert made[0].derivation.memory_kib == 256 * 1024


async def test_a_short_passphrase_is_refused_without_a_word_of_it(keystore):
    refused = await keystore.perform(derivation(*await prepared(keystore), passphrase=b"too short a one"))

    assert isinstance(refused, ImportFailed)
    assert "shorter than 20" in refused.reason
    assert "too short a one" not in refused.reason


async def test_deriving_does_not_hold_up_others(keystore):
    requests = [derivation(*await prepared(keystore)) for _ in range(3)]
    slow = asyncio.gather(*(keystore.perform(request) for request in requests))
    pair = CreateKeyPair(key_id=str(new_id()), algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE)

    await keystore.perform(pair)
    await keystore.perform(sign(pair.key_id))

    assert not slow.done()
    assert len({answer.public_key_pem for answer in await slow}) == 1


async def test_no_passphrase_nor_derived_key_lies_open_in_the_bucket(bucket, keystore):
    key_id, recipient = await prepared(keystore)
    await keystore.perform(derivation(key_id, recipient))
    secret = bytes.fromhex("b322a77d84494800c3909b9381c49602e8789fda12408bcea0d83e2bb3949529")

    stored = b"".join([document.value async for document in bucket.all()])

    assert PASSPHRASE not in stored
    assert secret not in stored


async def test_ml_dsa_is_neither_imported_nor_derived_where_it_is_not_allowed(bucket, keystore):
    bare = Keystore(bucket, await unlock(bucket, SECRET))
    key_id, recipient = await prepared(keystore)

    for request in (
        take(key_id, recipient, Algorithm.ML_DSA_65),
        derivation(key_id, recipient, Algorithm.ML_DSA_65),
    ):
        assert await bare.perform(request) == AlgorithmDisabled(request, Algorithm.ML_DSA_65)


async def test_a_key_that_was_generated_under_the_id_meanwhile_is_not_taken_for_the_imported_one(keystore):
    key_id, recipient = await prepared(keystore)
    await keystore.perform(CreateKeyPair(key_id=key_id, algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE))

    request = take(key_id, recipient)

    assert await keystore.perform(request) == ConcurrentKeyPair(request)
    other = CreateKeyPair(key_id=key_id, algorithm=Algorithm.ED25519, purpose=Purpose.DIGITAL_SIGNATURE)
    assert isinstance(await keystore.perform(other), KeyIdTaken)
