"""Change of the key-encryption key in operation: no key is lost, none stays wrapped by the old one."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from base64 import b64decode
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from pydantic_core import from_json

from services.key.effects import CreateKeyPair, ErasePrivateKey, KeyPairCreated, PrivateKeyErased, Sign, Signed
from services.key.secrets import rewrap
from services.key.secrets.kek import unlock
from services.key.secrets.kek_records import put_sealed
from services.key.secrets.keystore import Keystore
from services.key.secrets.rewrap import rewrap_until_done
from services.key.secrets.sealing import seal
from services.key.secrets.source import KeyFile, Passphrase
from services.key.service import key_service
from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm
from shared.errors import Conflict, Transient, Unusable
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.key_client import ask, ask_to_sign
from tests.support.settings import key_settings
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
OLD, NEW, OTHER = (KeyFile(bytes([octet]) * 32) for octet in (1, 2, 3))
PASSPHRASE = Passphrase("correct horse battery staple")
MANY = 300


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), "KEYS_SECRETS")


def create(key_id=None):
    return CreateKeyPair(
        key_id=key_id or str(new_id()),
        algorithm=Algorithm.ED25519,
        purpose=Purpose.DIGITAL_SIGNATURE,
        exportable=False,
        owner=None,
        label=None,
    )


def sign(key_id):
    return Sign(
        key_id=key_id,
        message=b"hello",
        signature_algorithm=SignatureAlgorithm.ED25519,
        purpose=Purpose.DIGITAL_SIGNATURE,
    )


async def made(bucket, keyring, number):
    keystore = Keystore(bucket, keyring)
    answers = await asyncio.gather(*(keystore.perform(create()) for _ in range(number)))
    return {answer.request.key_id: answer.public_key_pem for answer in answers}


async def require_all_sign(bucket, keyring, keys):
    """Each key opens and is the one that it was."""
    keystore = Keystore(bucket, keyring)
    for key_id, public in keys.items():
        assert isinstance(await keystore.perform(sign(key_id)), Signed)
        assert (await keystore.perform(create(key_id))).public_key_pem == public


async def under(bucket):
    """How many entries are under which key-encryption key."""
    found = {}
    async for document in bucket.all("key.*"):
        kek_id = from_json(document.value).get("kek_id")
        found[kek_id] = found.get(kek_id, 0) + 1
    return found


async def messages(bucket):
    return (await bucket.js.stream_info("KV_KEYS_SECRETS")).state.messages


async def kek_documents(bucket):
    return [document.key async for document in bucket.all("kek.*")]


# -- one secret after another ----------------------------------------------------
@pytest.mark.parametrize(("first", "then"), [(OLD, NEW), (PASSPHRASE, NEW), (OLD, PASSPHRASE)])
async def test_after_the_change_the_new_secret_alone_opens_everything_and_the_old_one_nothing(bucket, first, then):
    keys = await made(bucket, await unlock(bucket, first), 10)

    keyring = await unlock(bucket, then, first)
    await rewrap_until_done(bucket, keyring, changing=True)

    assert await under(bucket) == {keyring.kek_id: 10}
    assert await kek_documents(bucket) == [f"kek.{keyring.kek_id}"]
    await require_all_sign(bucket, await unlock(bucket, then), keys)
    with pytest.raises(Unusable, match="was sealed with"):
        await unlock(bucket, first)


async def test_while_the_change_is_under_way_old_and_new_entries_open(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 3)
    keyring = await unlock(bucket, NEW, OLD)

    keys |= await made(bucket, keyring, 3)

    assert sorted((await under(bucket)).values()) == [3, 3]
    await require_all_sign(bucket, keyring, keys)


async def test_only_the_data_key_is_wrapped_again(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 1)
    [before] = [from_json(document.value) async for document in bucket.all("key.*")]

    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)

    [after] = [from_json(document.value) async for document in bucket.all("key.*")]
    assert before["key_id"] in keys
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"kek_id", "wrapped_data_key"}


async def test_what_else_is_sealed_is_wrapped_again_with_all_that_it_says(bucket):
    old = await unlock(bucket, OLD)
    entry = json.loads(seal(old, create(), b"a secret").model_dump_json()) | {"another": ["field", 1]}
    await bucket.put("import.1", json.dumps(entry).encode(), 0)
    await bucket.put("signature.1.a", b"not even JSON", 0)

    keyring = await unlock(bucket, NEW, OLD)
    await rewrap_until_done(bucket, keyring, changing=True)

    now = from_json((await bucket.get("import.1")).value)
    assert now.pop("kek_id") == keyring.kek_id
    data_key = old.unwrap(entry.pop("kek_id"), b64decode(entry.pop("wrapped_data_key")))
    assert keyring.unwrap(keyring.kek_id, b64decode(now.pop("wrapped_data_key"))) == data_key
    assert now == entry
    assert (await bucket.get("signature.1.a")).value == b"not even JSON"


async def test_no_revision_under_the_old_key_is_left_in_the_bucket_or_on_the_disk(bucket, server, tmp_path):
    await made(bucket, await unlock(bucket, OLD), 20)
    wrapped = [from_json(document.value)["wrapped_data_key"].encode() async for document in bucket.all("key.*")]
    assert _on_disk(tmp_path, wrapped)

    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)

    assert await messages(bucket) == 21
    server.stop()
    assert _on_disk(tmp_path, wrapped) == []


async def test_it_is_said_when_the_previous_secret_can_be_taken_away_and_how_many_there_are(bucket, caplog):
    caplog.set_level("INFO")
    await made(bucket, await unlock(bucket, OLD), 4)

    for _ in range(2):  # a start with a secret that is no longer needed says so too
        await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("the previous secret can be removed: all 4 entries" in line for line in said)


async def test_one_change_after_another(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 3)

    for secret, previous in ((NEW, OLD), (OTHER, NEW), (OLD, OTHER)):
        await rewrap_until_done(bucket, await unlock(bucket, secret, previous), changing=True)

    await require_all_sign(bucket, await unlock(bucket, OLD), keys)
    assert await messages(bucket) == 4


async def test_the_service_answers_while_it_wraps_everything_again(bucket, server, client):
    await made(bucket, await unlock(bucket, OLD), MANY)
    async with _serving(key_settings(server.url, kek=OLD.key.hex())):
        old = (await ask(client, "generate", algorithm="ec-p256"))[1]["key_id"]

    async with _serving(key_settings(server.url, previous={"kek": OLD.key.hex()}, kek=NEW.key.hex())):
        answers = [await ask_to_sign(client, old) for _ in range(5)]
        answers.append(await ask(client, "generate", algorithm="ec-p256"))
        still_to_do = len(await under(bucket)) > 1
        await until(lambda: _only_one_kek(bucket))

    assert [kind for kind, _ in answers] == ["signed"] * 5 + ["generated"]
    assert still_to_do
    async with _serving(key_settings(server.url, kek=NEW.key.hex())):
        for key_id in (old, answers[-1][1]["key_id"]):
            assert (await ask_to_sign(client, key_id))[0] == "signed"


# -- what is refused -------------------------------------------------------------
async def test_before_the_change_is_complete_the_new_secret_alone_is_refused_with_the_number(bucket):
    await made(bucket, await unlock(bucket, OLD), 5)
    keyring = await unlock(bucket, NEW, OLD)
    await made(bucket, keyring, 2)

    with pytest.raises(Unusable, match="5 of 7 entries in KEYS_SECRETS are still sealed under the previous secret"):
        await unlock(bucket, NEW)
    with pytest.raises(Unusable, match=r"5 of 7 .* the previous key file is a different one"):
        await unlock(bucket, NEW, OTHER)


async def test_once_a_change_was_begun_the_old_secret_alone_is_refused(bucket):
    await made(bucket, await unlock(bucket, OLD), 1)
    await unlock(bucket, NEW, OLD)

    with pytest.raises(Unusable, match="the key file was replaced: start with the new secret, and this one as the pre"):
        await unlock(bucket, OLD)
    with pytest.raises(Unusable, match="was replaced"):
        await unlock(bucket, OLD, NEW)
    with pytest.raises(Unusable, match="finish that change first"):
        await unlock(bucket, OTHER, OLD)
    with pytest.raises(Unusable, match="finish that change first"):
        await unlock(bucket, OTHER, NEW)


async def test_who_proves_no_key_that_stands_adds_none(bucket):
    await made(bucket, await unlock(bucket, OLD), 1)
    before = await messages(bucket)

    with pytest.raises(Unusable, match="neither the key file nor the previous passphrase is the one that KEYS_SECRETS"):
        await unlock(bucket, NEW, PASSPHRASE)

    assert await messages(bucket) == before


async def test_a_successor_that_somebody_put_there_without_the_key_is_not_believed(bucket):
    await made(bucket, await unlock(bucket, OLD), 1)
    await unlock(bucket, NEW, OLD)
    document = await _last_kek_with_successor(bucket)
    forged = from_json(document.value) | {"endorsement": from_json(document.value)["check"]}
    await bucket.put(document.key, json.dumps(forged).encode(), document.revision)

    for secrets in ((OLD, None), (NEW, OLD)):
        with pytest.raises(Unusable, match="was altered: restore it"):
            await unlock(bucket, *secrets)


async def test_a_new_secret_that_is_the_old_one_changes_nothing(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 1)

    keyring = await unlock(bucket, OLD, OLD)
    await rewrap_until_done(bucket, keyring, changing=True)

    await require_all_sign(bucket, keyring, keys)
    assert await messages(bucket) == 2


async def test_an_entry_that_was_altered_keeps_the_old_key_in_use_and_is_named(bucket, caplog):
    keys = await made(bucket, await unlock(bucket, OLD), 2)
    broken = await bucket.get(f"key.{next(iter(keys))}")
    altered = from_json(broken.value) | {"wrapped_data_key": "A" * 56}
    await bucket.put(broken.key, json.dumps(altered).encode(), broken.revision)

    keyring = await unlock(bucket, NEW, OLD)
    rewrapping = asyncio.create_task(rewrap_until_done(bucket, keyring, changing=True, retry_delay_s=0.01))
    await until(lambda: "was altered and cannot be rewrapped" in caplog.text)
    rewrapping.cancel()

    assert f"KEYS_SECRETS/{broken.key} was altered" in caplog.text
    with pytest.raises(Unusable, match="1 of 2 entries"):
        await unlock(bucket, NEW)


# -- several processes -----------------------------------------------------------
async def test_replicas_that_change_to_the_same_secret_at_once_agree(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 60)

    keyrings = await asyncio.gather(*(unlock(bucket, NEW, OLD) for _ in range(4)))
    await asyncio.gather(*(rewrap_until_done(bucket, keyring, changing=True) for keyring in keyrings))

    assert len({keyring.kek_id for keyring in keyrings}) == 1
    assert await messages(bucket) == 61
    await require_all_sign(bucket, await unlock(bucket, NEW), keys)


async def test_replicas_that_change_to_different_secrets_do_not_both_run(bucket):
    await made(bucket, await unlock(bucket, OLD), 1)

    answers = await asyncio.gather(unlock(bucket, NEW, OLD), unlock(bucket, OTHER, OLD), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Keyring", "Unusable"]


async def test_a_replica_with_the_old_secret_makes_no_key_that_nobody_could_open(bucket):
    behind = await unlock(bucket, OLD)
    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)

    with pytest.raises(Transient, match="restart this process with the new secret"):
        await Keystore(bucket, behind).perform(create())

    assert await under(bucket) == {}


async def test_a_replica_with_the_old_secret_hands_on_what_it_cannot_open(bucket):
    behind = await unlock(bucket, OLD)
    keys = await made(bucket, await unlock(bucket, NEW, OLD), 1)

    with pytest.raises(Transient, match="restart it with the secret"):
        await Keystore(bucket, behind).perform(sign(next(iter(keys))))


async def test_keys_that_replicas_with_the_old_secret_make_during_the_change_are_not_lost(bucket):
    behind = await unlock(bucket, OLD)
    keystore, told = Keystore(bucket, behind), []

    async def go_on_making():
        while True:
            answer = await keystore.perform(create())
            assert isinstance(answer, KeyPairCreated)
            told.append(answer)

    making = [asyncio.create_task(go_on_making()) for _ in range(8)]
    await until(lambda: len(told) >= 50)
    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)
    outcomes = await asyncio.gather(*making, return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {Transient}
    keys = {answer.request.key_id: answer.public_key_pem for answer in told}
    await require_all_sign(bucket, await unlock(bucket, NEW), keys)


async def test_keys_destroyed_during_the_change_stay_destroyed(bucket):
    keys = await made(bucket, await unlock(bucket, OLD), 40)
    keyring = await unlock(bucket, NEW, OLD)
    keystore, ending = Keystore(bucket, keyring), list(keys)[::2]

    _, *answers = await asyncio.gather(
        rewrap_until_done(bucket, keyring, changing=True),
        *(keystore.perform(ErasePrivateKey(key_id)) for key_id in ending),
    )

    assert all(isinstance(answer, PrivateKeyErased) for answer in answers)
    assert await messages(bucket) == 41
    assert await under(bucket) == {keyring.kek_id: 20, None: 20}
    await require_all_sign(bucket, await unlock(bucket, NEW), {key: keys[key] for key in keys if key not in ending})


# -- crashes ---------------------------------------------------------------------
class _Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("survived", range(18))
async def test_ended_after_any_write_or_erasure_it_loses_no_key_and_a_restart_goes_on(bucket, monkeypatch, survived):
    keys = await made(bucket, await unlock(bucket, OLD), 5)
    steps, put, erase = count(), KeyValue.put, KeyValue.erase

    async def step(done, *arguments, **named):
        if next(steps) >= survived:
            raise _Killed
        return await done(*arguments, **named)

    async def ends_in_time():
        keyring = await unlock(bucket, NEW, OLD)
        await bucket.erase_overwritten()
        await rewrap._rewrap_all(bucket, keyring.current, keyring.previous)  # noqa: SLF001 - without its retries
        await rewrap._finish(bucket, keyring, 0)  # noqa: SLF001 - the same

    with monkeypatch.context() as patch:
        patch.setattr(KeyValue, "put", lambda *a, **n: step(put, *a, **n))
        patch.setattr(KeyValue, "erase", lambda *a, **n: step(erase, *a, **n))
        with contextlib.suppress(_Killed):
            await ends_in_time()

    await require_all_sign(bucket, await unlock(bucket, NEW, OLD), keys)
    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)
    await require_all_sign(bucket, await unlock(bucket, NEW), keys)
    assert await messages(bucket) == 6


async def test_killed_in_the_middle_again_and_again_the_process_comes_to_its_end(bucket, server, tmp_path):
    many = 3 * MANY  # so that under load too it takes longer than to look how far it is
    old = await unlock(bucket, OLD)
    keys = await made(bucket, old, many)
    some = dict(list(keys.items())[::9])
    wrapped = [from_json(document.value)["wrapped_data_key"].encode() async for document in bucket.all("key.*")]
    killed = []

    async def done():
        return many - (await under(bucket)).get(old.kek_id, 0)

    for share in (0.2, 0.4, 0.6, 0.8):
        async with _process(server) as process:
            while await _standing_still(process, done) < many * share:
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.05)
        killed.append(await done())
        await require_all_sign(bucket, await unlock(bucket, NEW, OLD), some)
    async with _process(server) as process, asyncio.timeout(60):
        async for line in process.stderr:
            if b"can be removed" in line:
                break
        process.terminate()
        await process.communicate()

    assert killed == sorted(killed)
    assert killed[0] < many
    assert f"all {many} entries".encode() in line
    await require_all_sign(bucket, await unlock(bucket, NEW), keys)
    assert await messages(bucket) == many + 1
    server.stop()
    assert _on_disk(tmp_path, wrapped) == []


async def test_a_service_stops_at_once_in_the_middle_of_it(bucket, server):
    await made(bucket, await unlock(bucket, OLD), MANY)
    settings = key_settings(server.url, previous={"kek": OLD.key.hex()}, kek=NEW.key.hex())

    async with asyncio.timeout(10), _serving(settings):  # a connection that cannot drain is given up after 30 s
        pass

    await rewrap_until_done(bucket, await unlock(bucket, NEW, OLD), changing=True)
    assert await messages(bucket) == MANY + 1


@contextlib.asynccontextmanager
async def _serving(settings):
    app = key_service(settings)
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def _only_one_kek(bucket):
    return len(await kek_documents(bucket)) == 1


@asynccontextmanager
async def _process(server):
    """The service as a process of its own, which is gone in the end whatever became of the test."""
    settings = {"KEY_KEK": NEW.key.hex(), "KEY_PREVIOUS_KEK": OLD.key.hex(), "NATS_URL": server.url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.key", env={"PATH": os.environ["PATH"], **settings}, cwd=ROOT, stderr=-1
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _standing_still(process, look):
    """Returns the result of *look* while the process is suspended."""
    assert process.returncode is None
    process.send_signal(signal.SIGSTOP)
    return await look()


async def _last_kek_with_successor(bucket):
    [one] = [one async for one in bucket.all("kek.*") if "successor" in from_json(one.value)]
    return one


def _on_disk(tmp_path, parts):
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    return [part for part in parts if part in content]


async def test_what_the_old_key_wrapped_does_not_open_under_the_new_one(bucket):
    old = await unlock(bucket, OLD)
    keyring = await unlock(bucket, NEW, OLD)

    with pytest.raises(InvalidUnwrap):
        keyring.unwrap(keyring.kek_id, old.wrap(bytes(32)))


async def test_put_sealed_is_a_put_while_the_key_stands(bucket):
    keyring = await unlock(bucket, OLD)

    revision = await put_sealed(bucket, keyring, "import.1", b"sealed")

    assert (await bucket.get("import.1")).revision == revision
    with pytest.raises(Conflict):
        await put_sealed(bucket, keyring, "import.1", b"another")
