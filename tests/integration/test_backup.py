"""Everything saved, the storage destroyed, everything restored: keys sign, and what was ended stays ended."""

import asyncio
import contextlib
import os
import random
import shutil
import stat
import sys
from base64 import b64decode
from pathlib import Path

import nats.errors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic_core import from_json

from deploy.backup import BackupFailed, restore, save, streams_in_order
from services.key.service import key_service
from shared.nats.streams import declare
from tests.support.key_client import ask, ask_to_sign
from tests.support.service_client import running
from tests.support.settings import key_settings
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PASSPHRASE = "correct horse battery staple"
MESSAGE = b"hello"


@pytest.fixture(name="backup")
def _backup(tmp_path):
    return tmp_path / "backup"


def serving(server, **source):
    return running(key_service(key_settings(server.url, **source or {"passphrase": PASSPHRASE})))


async def log_of(client):
    """All that the log holds, with its sequences."""
    js = client.jetstream()
    last = (await js.stream_info("KEYS_EVENTS")).state.last_seq
    messages = [await js.get_msg("KEYS_EVENTS", sequence, direct=False) for sequence in range(1, last + 1)]
    return [(message.seq, message.subject, message.data, message.headers) for message in messages]


async def lose_everything(server, tmp_path, client):
    """The machine with the storage burns; another server starts on an empty disk."""
    server.kill()
    shutil.rmtree(tmp_path / "jetstream")
    await server.start()
    await _reconnected(client)


async def _reconnected(client):
    async def answers():
        with contextlib.suppress(nats.errors.Error):
            await client.flush(timeout=1)
            return client.is_connected
        return False

    await until(answers)


async def backup_process(verb, directory, url):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.backup",
        verb,
        str(directory),
        env={"PATH": os.environ["PATH"], "NATS_URL": url},
        cwd=ROOT,
        stdout=-1,
        stderr=-1,
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode() + errors.decode()


async def test_after_a_restore_keys_sign_and_what_was_revoked_or_destroyed_stays_so(client, server, tmp_path, backup):
    async with serving(server):
        living, revoked, destroyed = [
            (await ask(client, "generate", algorithm="ec-p256"))[1]["key_id"] for _ in range(3)
        ]
        await ask(client, "revoke", revoked, reason="key-compromise")
        await ask(client, "revoke", destroyed, reason="key-compromise")
        assert (await ask(client, "destroy", destroyed))[0] == "destroyed"
        before = await ask_to_sign(client, living)
    log = await log_of(client)

    assert (await backup_process("save", backup, server.url))[0] == 0
    await lose_everything(server, tmp_path, client)
    assert (await backup_process("restore", backup, server.url))[0] == 0

    restored = await log_of(client)
    assert restored == log
    async with serving(server):
        kind, signed = await ask_to_sign(client, living)
        assert (kind, signed["signature"]) == ("signed", before[1]["signature"])
        _public_key(restored, living).verify(b64decode(signed["signature"]), MESSAGE, ec.ECDSA(SHA256()))
        for key_id, why in ((revoked, "is revoked"), (destroyed, "was destroyed")):
            kind, answer = await ask_to_sign(client, key_id)
            assert kind == "rejected"
            assert why in answer["message"]
            assert (await ask(client, "generate", key_id, algorithm="ec-p256"))[0] == "rejected"
        assert (await ask(client, "generate", algorithm="ec-p256"))[0] == "generated"


async def test_after_a_restore_a_wrong_passphrase_is_refused(client, server, tmp_path, backup):
    async with serving(server):
        await ask(client, "generate", algorithm="ec-p256")
    await save(client, backup)
    await lose_everything(server, tmp_path, client)
    await restore(client, backup)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.key",
        env={"PATH": os.environ["PATH"], "NATS_URL": server.url, "KEY_PASSPHRASE": "an altogether other passphrase"},
        cwd=ROOT,
        stderr=-1,
    )
    _, errors = await process.communicate()

    assert process.returncode == 78
    assert errors.count(b"\n") == 1
    assert b"the passphrase is not the one that KEYS_SECRETS was sealed with" in errors
    assert b"altogether" not in errors


async def test_a_backup_holds_no_private_key_in_the_clear_nor_one_that_was_destroyed(client, server, backup):
    async with serving(server):
        key_id = (await ask(client, "generate", algorithm="ec-p256"))[1]["key_id"]
        entry = await client.jetstream().get_msg("KV_KEYS_SECRETS", subject=f"$KV.KEYS_SECRETS.key.{key_id}")
        wrapped = from_json(entry.data)["wrapped_data_key"].encode()
        await ask(client, "revoke", key_id, reason="key-compromise")
        await ask(client, "destroy", key_id)

    await save(client, backup)

    content = b"".join(path.read_bytes() for path in backup.iterdir())
    assert wrapped not in content
    assert b"PRIVATE KEY" not in content
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup.iterdir()} == {0o600}
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700


async def test_a_backup_that_was_saved_while_the_service_works_has_every_key_that_it_tells_of(
    client, server, tmp_path, backup
):
    async with serving(server):
        making = asyncio.create_task(_make_keys(client))
        await until(lambda: _events(client, 20))
        await save(client, backup)
        making.cancel()
    await lose_everything(server, tmp_path, client)
    await restore(client, backup)

    generated = [subject.split(".")[4] for _, subject, _, _ in await log_of(client) if ".generated." in subject]
    assert len(generated) >= 20
    async with serving(server):
        for key_id in generated:
            assert (await ask_to_sign(client, key_id))[0] == "signed"


async def test_what_is_large_comes_back_as_it_was(client, server, tmp_path, backup):
    await declare(client)
    js, noise = client.jetstream(), random.Random(1)  # noqa: S311 - noise that does not compress, nothing secret
    bodies = [noise.randbytes(500_000) for _ in range(40)]
    for number, body in enumerate(bodies):
        await js.publish(f"$KV.KEYS_VIEWS.ca.{number}", body)

    await save(client, backup)
    await lose_everything(server, tmp_path, client)
    await restore(client, backup)

    for number, body in enumerate(bodies):
        assert (await js.get_msg("KV_KEYS_VIEWS", subject=f"$KV.KEYS_VIEWS.ca.{number}")).data == body
    await declare(client)  # and every stream is what streams.yaml says


async def test_sequences_go_on_where_they_were_and_holes_stay_holes(client, server, tmp_path, backup):
    await declare(client)
    js = client.jetstream()
    for key in ("a", "b", "c"):
        await js.publish(f"$KV.KEYS_SECRETS.key.{key}", b"x")
    await js.delete_msg("KV_KEYS_SECRETS", 2)

    await save(client, backup)
    await lose_everything(server, tmp_path, client)
    await restore(client, backup)

    assert (await js.stream_info("KV_KEYS_SECRETS")).state.messages == 2
    assert (await js.publish("$KV.KEYS_SECRETS.key.d", b"x")).seq == 4


async def test_nothing_is_restored_over_what_stands(client, backup):
    await declare(client)
    await save(client, backup)

    with pytest.raises(BackupFailed, match=r"the server has .*KEYS_EVENTS.* already: stop the services"):
        await restore(client, backup)


async def test_a_directory_with_something_in_it_is_not_saved_into(client, backup):
    await declare(client)
    await save(client, backup)

    with pytest.raises(BackupFailed, match="is not empty"):
        await save(client, backup)


@pytest.fixture(name="lost")
async def _lost(client, server, tmp_path, backup):
    """Saved, and then nothing is left but the backup."""
    await declare(client)
    await save(client, backup)
    await lose_everything(server, tmp_path, client)
    return backup


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda backup: (backup / "manifest.json").unlink(), "is not a complete backup"),
        (lambda backup: (backup / "manifest.json").write_text("{}"), "is not a manifest"),
        (lambda backup: (backup / "KEYS_EVENTS.snapshot").unlink(), "KEYS_EVENTS.snapshot is missing"),
        (lambda backup: (backup / "KEYS_EVENTS.snapshot").write_bytes(b"x"), "is damaged"),
    ],
    ids=["unfinished", "no manifest", "a file missing", "a file altered"],
)
async def test_a_backup_that_is_not_whole_is_refused_before_anything_is_written(client, lost, harm, problem):
    harm(lost)

    with pytest.raises(BackupFailed, match=problem):
        await restore(client, lost)

    assert (await client.jetstream().streams_info()) == []


async def test_the_command_says_in_one_line_what_it_did_or_why_not(client, server, backup):
    await declare(client)

    assert await backup_process("save", backup, server.url) == (
        0,
        f"saved {len(streams_in_order())} streams with 0 messages: {backup}\n",
    )
    status, said = await backup_process("save", backup, server.url)
    assert (status, said.count("\n")) == (1, 1)
    status, said = await backup_process("steal", backup, server.url)
    assert (status, said) == (1, "usage: python -m deploy.backup save|restore DIRECTORY\n")
    status, said = await backup_process("save", backup.with_name("other"), "nats://127.0.0.1:1")
    assert (status, said.count("\n")) == (1, 1)


def test_the_log_is_copied_after_what_must_not_be_ahead_of_it_and_before_what_must_not_lag_behind():
    order = streams_in_order()

    assert order.index("KV_KEYS_SNAPSHOTS") < order.index("KEYS_EVENTS") < order.index("KV_KEYS_SECRETS")
    assert len(order) == len(set(order))


async def _make_keys(client):
    while True:
        await asyncio.gather(*(ask(client, "generate", algorithm="ec-p256") for _ in range(10)))


async def _events(client, number):
    return (await client.jetstream().stream_info("KEYS_EVENTS")).state.messages >= number


def _public_key(log, key_id):
    [generated] = [from_json(data) for _, subject, data, _ in log if subject == f"keys.events.key.generated.{key_id}"]
    return load_pem_public_key(generated["public_key_pem"].encode())
