"""The keystore on a real server: keys are created once, open with one secret only, and are erased when destroyed."""

import asyncio
from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic_core import from_json

from services.key.crypto import algorithms
from services.key.effects import (
    AlgorithmDisabled,
    BatchSigned,
    CreateKeyPair,
    ErasePrivateKey,
    KeyIdTaken,
    KeyPairCreated,
    PrivateKeyDestroyed,
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
from services.key.secrets.kek import KeyFile, Passphrase, unlock
from services.key.secrets.keystore import EXPORT_SUITE, Keystore
from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm, sealing_info
from shared.errors import Conflict, Unusable
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare

PASSPHRASE = Passphrase("correct horse battery staple")
SECRET = KeyFile(bytes(range(32)))
PKCS8_MARKS = (bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a864886f70d010101"), b"\x06\x03\x2b\x65")
"""The object identifiers of EC, RSA and RFC 8410 keys: in every PKCS#8, in no ciphertext but by a rare chance."""


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), "KEYS_SECRETS")


@pytest.fixture(name="keystore")
async def _keystore(bucket):
    return Keystore(bucket, await unlock(bucket, SECRET), ml_dsa=True)


async def another_process(bucket):
    return Keystore(bucket, await unlock(bucket, SECRET), ml_dsa=True)


def create(algorithm=Algorithm.EC_P256, purpose=Purpose.DIGITAL_SIGNATURE, key_id=None):
    return CreateKeyPair(
        key_id=key_id or str(new_id()), algorithm=algorithm, purpose=purpose, exportable=True, owner=None, label=None
    )


def sign(key_id, purpose=Purpose.DIGITAL_SIGNATURE):
    return Sign(key_id=key_id, message=b"hello", signature_algorithm=SignatureAlgorithm.ECDSA_SHA256, purpose=purpose)


# -- making and using ------------------------------------------------------------
@pytest.mark.parametrize("algorithm", Algorithm)
async def test_asked_again_for_an_id_it_answers_with_the_same_public_key(bucket, keystore, algorithm):
    request = create(algorithm)

    first = await keystore.perform(request)

    assert isinstance(first, KeyPairCreated)
    assert await keystore.perform(request) == first
    assert await (await another_process(bucket)).perform(request) == first


@pytest.mark.parametrize("algorithm", [Algorithm.EC_P256, Algorithm.RSA_2048])
async def test_two_processes_asked_at_once_agree_on_one_key(bucket, keystore, algorithm):
    sibling, request = await another_process(bucket), create(algorithm)

    answers = await asyncio.gather(*(store.perform(request) for store in (keystore, sibling) for _ in range(4)))

    assert len({answer.public_key_pem for answer in answers}) == 1


async def test_an_id_that_has_another_kind_of_key_is_not_given_a_second(keystore):
    request = create()
    await keystore.perform(request)

    other = create(Algorithm.ED25519, key_id=request.key_id)

    assert await keystore.perform(other) == KeyIdTaken(other, Algorithm.EC_P256, Purpose.DIGITAL_SIGNATURE)


async def test_rsa_generation_does_not_hold_up_others(keystore):
    slow = asyncio.gather(*(keystore.perform(create(Algorithm.RSA_4096)) for _ in range(6)))
    request = create()
    await keystore.perform(request)

    await keystore.perform(sign(request.key_id))

    assert not slow.done()
    assert all(isinstance(made, KeyPairCreated) for made in await slow)


async def test_what_a_stored_key_signs_its_public_key_verifies_also_after_a_restart(bucket, keystore):
    made = await keystore.perform(create())
    public = load_pem_public_key(made.public_key_pem.encode())

    signed = await (await another_process(bucket)).perform(sign(made.request.key_id))

    assert isinstance(signed, Signed)
    public.verify(signed.signature, b"hello", ec.ECDSA(SHA256()))


async def test_an_rsa_key_signs_after_a_restart(bucket, keystore):
    made = await keystore.perform(create(Algorithm.RSA_2048))
    public = load_pem_public_key(made.public_key_pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    request = Sign(
        key_id=made.request.key_id,
        message=b"hello",
        signature_algorithm=SignatureAlgorithm.RSA_PKCS1_SHA256,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )

    signed = await (await another_process(bucket)).perform(request)

    public.verify(signed.signature, b"hello", algorithms.padding.PKCS1v15(), SHA256())


async def test_a_stored_certificate_signing_key_signs_nothing_else(keystore):
    made = await keystore.perform(create(purpose=Purpose.CERTIFICATE_SIGNING))

    # The purpose in the command does not matter: the entry has its own, to which its seal is bound.
    answers = [await keystore.perform(sign(made.request.key_id, purpose)) for purpose in Purpose]

    assert all(isinstance(answer, SigningDenied) for answer in answers)


async def test_many_things_are_signed_by_one_command_in_their_order(keystore):
    made = await keystore.perform(create())
    public = load_pem_public_key(made.public_key_pem.encode())
    messages = tuple(f"status {number}".encode() for number in range(20))
    request = SignMessages(
        key_id=made.request.key_id,
        messages=messages,
        signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )

    signed = await keystore.perform(request)

    assert isinstance(signed, BatchSigned)
    for message, signature in zip(messages, signed.signatures, strict=True):
        public.verify(signature, message, ec.ECDSA(SHA256()))
    assert await keystore.perform(request) == signed


async def test_a_certificate_signing_key_signs_nothing_else_in_a_batch_either(keystore):
    made = await keystore.perform(create(purpose=Purpose.CERTIFICATE_SIGNING))
    request = SignMessages(
        key_id=made.request.key_id,
        messages=(b"one",),
        signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
        purpose=Purpose.OCSP_SIGNING,
    )

    assert isinstance(await keystore.perform(request), SigningDenied)


async def test_what_is_not_signed_the_same_twice_is_kept_before_it_is_told(bucket, keystore):
    made = await keystore.perform(create(Algorithm.ML_DSA_65))
    public = load_pem_public_key(made.public_key_pem.encode())
    request = Sign(
        key_id=made.request.key_id,
        message=b"hello",
        signature_algorithm=SignatureAlgorithm.ML_DSA_65,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )
    sibling = await another_process(bucket)

    answers = await asyncio.gather(*(store.perform(request) for store in (keystore, sibling) for _ in range(4)))
    later = await (await another_process(bucket)).perform(request)

    assert {answer.signature for answer in answers} == {later.signature}
    public.verify(later.signature, b"hello")
    kept = await bucket.get(f"signature.{made.request.key_id}.{sha256(b'hello').hexdigest()}")
    assert kept.value == later.signature


async def test_ml_dsa_is_neither_made_nor_used_where_it_is_not_allowed(bucket, keystore):
    made = await keystore.perform(create(Algorithm.ML_DSA_65))
    bare, another = Keystore(bucket, await unlock(bucket, SECRET)), create(Algorithm.ML_DSA_65)
    request = Sign(
        key_id=made.request.key_id,
        message=b"hello",
        signature_algorithm=SignatureAlgorithm.ML_DSA_65,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )

    for effect in (another, request):
        assert await bare.perform(effect) == AlgorithmDisabled(effect, Algorithm.ML_DSA_65)


async def test_a_key_without_an_entry_is_out_of_reach(keystore):
    assert isinstance(await keystore.perform(sign(str(new_id()))), PrivateKeyUnavailable)


async def test_more_keys_than_are_kept_in_memory_all_sign(keystore):
    made = [await keystore.perform(create(Algorithm.EC_P256)) for _ in range(70)]

    assert len(keystore._entries.cache) == 64  # noqa: SLF001 - the bound is the point
    for one in made:
        assert isinstance(await keystore.perform(sign(one.request.key_id)), Signed)


# -- sealing ---------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", Algorithm)
async def test_no_private_key_lies_open_in_the_bucket(bucket, keystore, algorithm):
    made = await keystore.perform(create(algorithm))
    secret = algorithms.to_pkcs8(keystore._entries.cache[made.request.key_id][1])  # noqa: SLF001 - what must not be found

    stored = b"".join([document.value async for document in bucket.all()])
    opened = [b64decode(value) for value in _strings(stored) if len(value) > 64]

    for content in (stored, *opened):
        assert secret not in content
        assert secret[-32:] not in content
        assert not [mark for mark in PKCS8_MARKS[:2] if mark in content]


async def test_an_entry_in_the_place_of_another_does_not_open(bucket, keystore):
    made, theirs = await keystore.perform(create()), str(new_id())
    entry = await bucket.get(f"key.{made.request.key_id}")

    await bucket.put(f"key.{theirs}", entry.value, revision=0)

    assert isinstance(await keystore.perform(sign(theirs)), PrivateKeyUnavailable)


async def test_an_entry_that_is_called_something_else_does_not_open(bucket, keystore):
    made = await keystore.perform(create(purpose=Purpose.CERTIFICATE_SIGNING))
    entry = await bucket.get(f"key.{made.request.key_id}")
    renamed = entry.value.replace(b"certificate-signing", b"digital-signature")
    await bucket.put(entry.key, renamed, entry.revision)

    answer = await (await another_process(bucket)).perform(sign(made.request.key_id))

    assert isinstance(answer, PrivateKeyUnavailable)
    assert "altered" in answer.reason


async def test_what_is_no_entry_is_out_of_reach_and_not_an_accident(bucket, keystore):
    key_id = str(new_id())
    await bucket.put(f"key.{key_id}", b"not json", revision=0)

    assert isinstance(await keystore.perform(create(key_id=key_id)), PrivateKeyUnavailable)


# -- destroying ------------------------------------------------------------------
async def test_a_destroyed_key_is_gone_from_every_revision_and_from_the_disk(bucket, keystore, server, tmp_path):
    made = await keystore.perform(create())
    place = f"key.{made.request.key_id}"
    entry = from_json((await bucket.get(place)).value)
    parts = [entry["ciphertext"].encode(), entry["wrapped_data_key"].encode()]
    assert await _on_disk(tmp_path, parts) == parts  # the search finds what is there

    assert await keystore.perform(ErasePrivateKey(made.request.key_id)) == PrivateKeyErased(
        ErasePrivateKey(made.request.key_id)
    )

    info = await bucket.js.stream_info("KV_KEYS_SECRETS", subjects_filter=f"$KV.KEYS_SECRETS.{place}")
    assert info.state.subjects == {f"$KV.KEYS_SECRETS.{place}": 1}
    assert from_json((await bucket.get(place)).value) == {"v": 1, "key_id": made.request.key_id, "destroyed": True}
    assert await _on_disk(tmp_path, parts) == []
    server.stop()
    assert await _on_disk(tmp_path, parts) == []


async def test_a_destroyed_key_does_nothing_and_its_id_is_never_used_again(bucket, keystore):
    made = await keystore.perform(create())
    key_id = made.request.key_id
    await keystore.perform(ErasePrivateKey(key_id))

    for store in (keystore, await another_process(bucket)):
        for effect in (
            sign(key_id),
            SealPrivateKey(key_id=key_id, recipient_public_key=bytes(range(32))),
            made.request,
        ):
            assert await store.perform(effect) == PrivateKeyDestroyed(effect)


async def test_destroying_again_or_what_never_was_ends_the_same(bucket, keystore):
    made, never = await keystore.perform(create()), str(new_id())

    for key_id in (made.request.key_id, made.request.key_id, never, never):
        assert await keystore.perform(ErasePrivateKey(key_id)) == PrivateKeyErased(ErasePrivateKey(key_id))

    assert await keystore.perform(create(key_id=never)) == PrivateKeyDestroyed(create(key_id=never))
    assert len([document async for document in bucket.all()]) == 3


async def test_all_that_belongs_to_a_destroyed_key_is_gone_in_every_revision(bucket, keystore, server, tmp_path):
    made, other = await keystore.perform(create()), await keystore.perform(create())
    key_id, theirs = made.request.key_id, other.request.key_id
    entry = await bucket.get(f"key.{key_id}")
    await bucket.put(entry.key, entry.value.replace(b'"v":1', b'"v": 1'), entry.revision)  # a re-wrapping cut short
    values = [f"what is kept of it {number} {new_id()}".encode() for number in range(4)]
    places = (f"import.{key_id}", f"signature.{key_id}.a", f"signature.{key_id}.b", f"key.{key_id}.c")
    for place, value in zip(places, values, strict=True):
        await bucket.put(place, value, await bucket.put(place, value + b" before", 0))
    await bucket.put(f"import.{theirs}", b"of another key", 0)
    parts = [*values, from_json(entry.value)["ciphertext"].encode()]
    assert await _on_disk(tmp_path, parts) == parts

    assert await keystore.perform(ErasePrivateKey(key_id)) == PrivateKeyErased(ErasePrivateKey(key_id))

    assert {document.key async for document in bucket.all() if key_id in document.key} == {f"key.{key_id}"}
    assert {document.key async for document in bucket.all() if theirs in document.key} == {
        f"key.{theirs}",
        f"import.{theirs}",
    }
    server.stop()
    assert await _on_disk(tmp_path, parts) == []


async def test_destroying_again_finishes_what_a_crash_left_behind_the_tombstone(bucket, keystore):
    made = await keystore.perform(create())
    key_id = made.request.key_id
    await keystore.perform(ErasePrivateKey(key_id))
    await bucket.put(f"import.{key_id}", b"left over", 0)

    assert await keystore.perform(ErasePrivateKey(key_id)) == PrivateKeyErased(ErasePrivateKey(key_id))

    assert await bucket.get(f"import.{key_id}") is None


async def test_two_processes_destroy_at_once(bucket, keystore):
    made, sibling = await keystore.perform(create()), await another_process(bucket)
    erase_key = ErasePrivateKey(made.request.key_id)

    assert (
        await asyncio.gather(keystore.perform(erase_key), sibling.perform(erase_key))
        == [PrivateKeyErased(erase_key)] * 2
    )


# -- exporting -------------------------------------------------------------------
async def test_an_exported_key_opens_for_its_recipient_under_its_own_id_only(keystore):
    recipient, stranger = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    made = await keystore.perform(create(Algorithm.X25519, Purpose.KEY_MANAGEMENT))
    key_id = made.request.key_id

    sealed = await keystore.perform(
        SealPrivateKey(key_id=key_id, recipient_public_key=recipient.public_key().public_bytes_raw())
    )

    assert isinstance(sealed, PrivateKeySealed)
    assert sealed.algorithm is Algorithm.X25519
    pkcs8 = unseal(sealed.sealed_key, recipient, key_id)
    assert algorithms.public_key_info(algorithms.from_pkcs8(pkcs8)).pem == made.public_key_pem
    for key, other_id in ((stranger, key_id), (recipient, str(new_id())), (recipient, "")):
        with pytest.raises(InvalidTag):
            unseal(sealed.sealed_key, key, other_id)


async def test_nothing_is_sealed_to_a_point_of_low_order(keystore):
    made = await keystore.perform(create(Algorithm.X25519, Purpose.KEY_MANAGEMENT))
    request = SealPrivateKey(key_id=made.request.key_id, recipient_public_key=bytes(32))

    assert await keystore.perform(request) == RecipientInvalid(request)


def unseal(sealed, key, key_id):
    return EXPORT_SUITE.decrypt(sealed, key, sealing_info(key_id))


# -- the key-encryption key ------------------------------------------------------
async def test_the_same_passphrase_opens_the_bucket_again(bucket):
    made = await Keystore(bucket, await unlock(bucket, PASSPHRASE)).perform(create())

    again = Keystore(bucket, await unlock(bucket, PASSPHRASE))

    assert isinstance(await again.perform(sign(made.request.key_id)), Signed)


@pytest.mark.parametrize(
    ("first", "then", "problem"),
    [
        (PASSPHRASE, Passphrase("correct horse battery stable"), "the passphrase is not the one that KEYS_SECRETS was"),
        (SECRET, KeyFile(bytes(32)), "the key file is not the one that KEYS_SECRETS was sealed with"),
        (PASSPHRASE, SECRET, "sealed with a passphrase, not with a key file"),
        (SECRET, PASSPHRASE, "sealed with a key file, not with a passphrase"),
    ],
    ids=["wrong passphrase", "wrong key file", "file for passphrase", "passphrase for file"],
)
async def test_a_wrong_secret_is_refused(bucket, first, then, problem):
    await unlock(bucket, first)

    with pytest.raises(Unusable, match=problem) as caught:
        await unlock(bucket, then)

    assert "correct horse" not in repr(caught.value)


async def test_siblings_that_start_at_once_agree_on_one_key(bucket):
    keys = await asyncio.gather(*(unlock(bucket, SECRET) for _ in range(5)))

    assert len({key.kek_id for key in keys}) == 1


async def test_siblings_that_start_at_once_with_different_secrets_do_not_both_run(bucket):
    answers = await asyncio.gather(unlock(bucket, SECRET), unlock(bucket, KeyFile(bytes(32))), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Keyring", "Unusable"]


async def test_keys_without_what_tells_their_key_encryption_key_are_not_sealed_anew(bucket, keystore):
    await keystore.perform(create())
    await bucket.erase(await bucket.get("kek.*"))

    with pytest.raises(Unusable, match="restore"):
        await unlock(bucket, SECRET)


async def test_a_short_passphrase_is_refused(bucket, tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("elevenchars\n")

    with pytest.raises(ValueError, match="shorter than 12"):
        Passphrase.read(path)
    with pytest.raises(Unusable, match="shorter than 12"):
        await unlock(bucket, Passphrase("elevenchars"))


def test_a_passphrase_is_the_first_line_of_its_file(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE.text + "\r\nsomething else\n")

    assert Passphrase.read(path) == PASSPHRASE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_key_file_that_is_open_to_others_is_refused(tmp_path, mode):
    path = tmp_path / "kek"
    path.write_bytes(SECRET.key)
    path.chmod(mode)

    with pytest.raises(ValueError, match="chmod 600"):
        KeyFile.read(path)


@pytest.mark.parametrize("content", [SECRET.key, SECRET.key.hex().encode(), SECRET.key.hex().upper().encode() + b"\n"])
def test_a_key_file_is_raw_or_hexadecimal(tmp_path, content):
    assert KeyFile.read(private_file(tmp_path, content)) == SECRET


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33), bytes(64), b"0" * 63, b"0" * 66, b"g" * 64])
def test_a_key_file_of_another_length_or_alphabet_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="exactly 32 octets"):
        KeyFile.read(private_file(tmp_path, content))


@pytest.mark.parametrize("kind", [Passphrase, KeyFile])
def test_a_secret_file_that_is_not_there_is_said_to_be_missing(tmp_path, kind):
    with pytest.raises(ValueError, match="No such file"):
        kind.read(tmp_path / "nowhere")


async def test_no_secret_shows_in_a_repr(bucket):
    shown = repr((PASSPHRASE, SECRET, await unlock(bucket, SECRET)))

    assert PASSPHRASE.text not in shown
    assert repr(SECRET.key)[2:-1] not in shown


async def test_an_entry_that_cannot_be_erased_is_not_said_to_be_destroyed(keystore, monkeypatch):
    made = await keystore.perform(create())

    async def erases_nothing(*_): ...

    monkeypatch.setattr(KeyValue, "erase", erases_nothing)
    with pytest.raises(Conflict, match="cannot be erased"):
        await keystore.perform(ErasePrivateKey(made.request.key_id))


def private_file(directory, content):
    path = directory / "kek"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def _strings(stored):
    return [part for part in stored.decode().split('"') if part]


async def _on_disk(tmp_path, parts):
    await asyncio.sleep(0.5)  # the server writes its cache out within milliseconds
    files = [path for path in (tmp_path / "jetstream").rglob("*") if path.is_file()]
    content = await asyncio.to_thread(lambda: b"".join(path.read_bytes() for path in files))
    assert content
    return [part for part in parts if part in content]
