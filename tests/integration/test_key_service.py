"""The key service in one process on a real server: what it answers to commands, good and bad, told once and twice."""

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from nats.js.api import DeliverPolicy
from pydantic_core import from_json, to_json

from services.key.__main__ import settings_from
from services.key.service import KeySettings, key_service
from shared.errors import Unusable
from shared.identity import new_id
from tests.support.to_be_signed import authority_below, below, crl, key, root

ROOT = Path(__file__).parents[2]
GENERATE, SIGN = "keys.commands.key.generate", "keys.commands.key.sign"


class Conversation:
    """What is said to the service, and what is heard of it."""

    def __init__(self, client):
        self._js = client.jetstream()

    async def say(self, subject, body, **headers):
        """Publish a command, with no header but those given; returns its position in the stream."""
        data = body if isinstance(body, bytes) else to_json(body)
        return await self._js.publish(subject, data, headers=headers or None)

    async def hear(self, pattern, count=1, within=10.0):
        """The first *count* events of *pattern*, from the beginning of the log."""
        events = await self._js.subscribe(pattern, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
        try:
            return [await events.next_msg(timeout=within) for _ in range(count)]
        finally:
            await events.unsubscribe()

    async def answer(self, subject, body, pattern):
        """Say something under an id of its own, and hear what that leads to."""
        command_id = str(new_id())
        await self.say(subject, body, **{"CIM-Command-Id": command_id})
        async with asyncio.timeout(10):
            while True:
                for event in await self.all(pattern):
                    if event.headers["CIM-Causation-Id"] == command_id:
                        return from_json(event.data)
                await asyncio.sleep(0.02)

    async def rejection(self, subject, body):
        return await self.answer(subject, body, "keys.events.command.rejected.*")

    async def all(self, pattern="keys.events.>"):
        info = await self._js.stream_info("KEYS_EVENTS", subjects_filter=pattern)
        return await self.hear(pattern, sum((info.state.subjects or {}).values()))


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery staple\n")
    return KeySettings(server.url, passphrase_file=path)


@contextlib.asynccontextmanager
async def serving(settings):
    app = key_service(settings)
    await app.start()
    try:
        yield
    finally:
        await app.stop()


@pytest.fixture(name="talk")
async def _talk(settings, client):
    async with serving(settings):
        yield Conversation(client)


async def test_a_command_without_headers_makes_a_key(talk):
    await talk.say(GENERATE, b'{"algorithm":"ec-p256"}')

    (event,) = await talk.hear("keys.events.key.generated.*")
    body = from_json(event.data)

    assert event.subject == f"keys.events.key.generated.{body['key_id']}"
    assert (body["algorithm"], body["purpose"], body["provenance"]) == ("ec-p256", "digital-signature", "software")
    assert load_pem_public_key(body["public_key_pem"].encode()).curve.name == "secp256r1"
    assert event.headers["CIM-Correlation-Id"] == event.headers["CIM-Causation-Id"]
    assert event.headers["CIM-Source"] == "key"


async def test_a_command_told_twice_at_once_leads_to_one_event(talk):
    command_id = str(new_id())
    for _ in range(2):  # no Nats-Msg-Id: the commands' stream keeps both
        await talk.say(GENERATE, {"algorithm": "ed25519"}, **{"CIM-Command-Id": command_id})

    await talk.answer(GENERATE, {"algorithm": "ed25519"}, "keys.events.key.generated.*")
    await asyncio.sleep(0.2)

    assert len(await talk.all()) == 2


async def test_a_command_told_again_after_a_restart_leads_to_one_event(talk, settings):
    command = {"CIM-Command-Id": str(new_id())}
    body = {"key_id": str(new_id()), "algorithm": "ec-p384"}
    await talk.say(GENERATE, body, **command)
    await talk.hear("keys.events.key.generated.*")

    async with serving(settings):
        await talk.say(GENERATE, body, **command)
        await talk.answer(GENERATE, {"algorithm": "ed25519"}, "keys.events.key.generated.*")
        await asyncio.sleep(0.2)

        assert len(await talk.all(f"keys.events.key.*.{body['key_id']}")) == 1


async def test_asking_for_the_same_key_in_another_command_is_repeating(talk):
    body = {"key_id": str(new_id()), "algorithm": "ec-p256"}
    await talk.answer(GENERATE, body, "keys.events.key.generated.*")

    repeated = await talk.answer(GENERATE, body, "keys.events.command.repeated.*")

    assert repeated["aggregate_id"] == body["key_id"]
    assert len(await talk.all("keys.events.key.>")) == 1


@pytest.mark.parametrize(
    ("subject", "body", "code", "words"),
    [
        (GENERATE, b"not json", "malformed", ["one JSON object"]),
        (GENERATE, b"[]", "malformed", ["one JSON object"]),
        (GENERATE, {"algorithm": "ec-p256", "colour": "red"}, "invalid", ["colour", "unknown field", "algorithm"]),
        (GENERATE, {"algorithm": "rot13"}, "invalid", ["algorithm", "ec-p256"]),
        (GENERATE, {"algorithm": "x25519", "purpose": "authentication"}, "invalid", ["key-management"]),
        ("keys.commands.key.polish", {"key_id": str(new_id())}, "unknown-command", ["polish", GENERATE]),
        ("keys.commands.key.revoke", {"key_id": str(new_id())}, "not-found", ["there is no key", "void_if_absent"]),
        ("keys.commands.key.destroy", {"key_id": str(new_id())}, "not-found", ["there is no key"]),
        (
            SIGN,
            {
                "key_id": str(new_id()),
                "message": "aGVsbG8=",
                "signature_algorithm": "ed25519",
                "purpose": "authentication",
            },
            "not-found",
            ["there is no key"],
        ),
    ],
)
async def test_what_cannot_be_done_is_answered_and_the_service_goes_on(talk, subject, body, code, words):
    rejection = await talk.rejection(subject, body)

    assert rejection["code"] == code
    for word in words:
        assert word in rejection["message"]
    assert await talk.answer(GENERATE, {"algorithm": "ed25519"}, "keys.events.key.generated.*")


async def test_a_key_lives_from_generation_to_destruction(talk):
    key_id, recipient = str(new_id()), X25519PrivateKey.generate().public_key().public_bytes_raw()
    of_key, is_about = {"key_id": key_id}, f"keys.events.key.*.{key_id}"

    async def do(verb, **body):
        return await talk.answer(f"keys.commands.key.{verb}", of_key | body, is_about)

    await do("generate", algorithm="ed25519", exportable=True, owner="ada")
    signed = await do("sign", message="aGVsbG8=", signature_algorithm="ed25519", purpose="digital-signature")
    exported = await do("export", recipient_public_key=_base64(recipient))
    await do("revoke", reason="lost")
    await do("destroy")

    assert len(_raw(signed["signature"])) == 64
    assert len(_raw(exported["sealed_key"])) == 32 + 48 + 16
    kinds = [event.headers["CIM-Event-Type"] for event in await talk.all(is_about)]
    assert kinds == ["KeyGenerated", "KeySigned", "KeyExported", "KeyRevoked", "KeyDestroyed"]
    assert (await talk.rejection(GENERATE, of_key | {"algorithm": "ed25519"}))["code"] == "conflict"


async def test_a_certificate_signing_key_refuses_other_messages_in_an_answer(talk):
    key_id = str(new_id())
    purpose = {"purpose": "certificate-signing"}
    await talk.answer(GENERATE, {"key_id": key_id, "algorithm": "ec-p384"} | purpose, "keys.events.key.generated.*")

    wish = {"key_id": key_id, "message": "aGVsbG8=", "signature_algorithm": "ecdsa-sha384"} | purpose
    rejection = await talk.rejection(SIGN, wish)

    assert rejection["code"] == "not-allowed"
    assert "TBSCertificate" in rejection["message"]


async def test_a_hierarchy_of_keys_signs_its_way_down_also_across_a_restart(talk, settings):
    of_purpose = {"purpose": "certificate-signing", "signature_algorithm": "ecdsa-sha256"}
    top, middle = [
        await talk.answer(
            GENERATE, {"algorithm": "ec-p256", "purpose": "certificate-signing"}, "keys.events.key.generated.*"
        )
        for _ in range(2)
    ]
    of_root = root(load_pem_public_key(top["public_key_pem"].encode()))
    issuing = authority_below(of_root, load_pem_public_key(middle["public_key_pem"].encode()))
    leaf = below(issuing, key("leaf").public_key())

    async def sign(who, tbs):
        wish = of_purpose | {"key_id": who["key_id"], "message": _base64(tbs)}
        return await talk.answer(SIGN, wish, f"keys.events.key.signed.{who['key_id']}")

    await sign(top, of_root.tbs())
    signature = _raw((await sign(top, issuing.tbs()))["signature"])
    of_root.public.verify(signature, issuing.tbs(), ECDSA(SHA256()))
    async with serving(settings):  # a replica that has heard nothing yet; either may answer
        for serial in range(1, 9):
            await sign(middle, leaf.but(serial=serial).tbs())


async def test_an_authority_from_elsewhere_is_bound_and_then_signs(talk):
    made = await talk.answer(
        GENERATE, {"algorithm": "ec-p256", "purpose": "certificate-signing"}, "keys.events.key.generated.*"
    )
    of_key = {"key_id": made["key_id"]}
    issuing = authority_below(root(key().public_key()), load_pem_public_key(made["public_key_pem"].encode()))
    pem = issuing.finished(key()).public_bytes(Encoding.PEM).decode()
    crl_of_it = {
        "message": _base64(crl(issuing)),
        "signature_algorithm": "ecdsa-sha256",
        "purpose": "certificate-signing",
    }
    assert "key.bind-authority" in (await talk.rejection(SIGN, of_key | crl_of_it))["message"]

    bound = await talk.answer(
        "keys.commands.key.bind-authority", of_key | {"certificate_pem": pem}, "keys.events.key.authority-bound.*"
    )

    assert bound["certificate_pem"] == pem
    assert await talk.answer(SIGN, of_key | crl_of_it, "keys.events.key.signed.*")


async def test_a_hundred_keys_asked_for_at_once_are_made_once_each(talk):
    await asyncio.gather(*(talk.say(GENERATE, {"algorithm": "ec-p256"}) for _ in range(100)))

    events = await talk.hear("keys.events.>", 100)

    assert {event.headers["CIM-Event-Type"] for event in events} == {"KeyGenerated"}
    assert len({event.subject for event in events}) == 100


# -- as a process ----------------------------------------------------------------
async def run(**environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.key",
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environment,
        stderr=subprocess.PIPE,
    )
    return process, (await process.stderr.readline()).decode()


async def ended(process):
    async with asyncio.timeout(15):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_a_wrong_passphrase_ends_the_process_with_one_clear_line(settings, server, tmp_path):
    async with serving(settings):
        pass
    wrong = tmp_path / "wrong"
    wrong.write_text("an altogether other passphrase\n")

    process, line = await run(NATS_URL=server.url, KEY_PASSPHRASE_FILE=str(wrong))

    assert "the passphrase is not the one that KEYS_SECRETS was sealed with" in line
    assert await ended(process) == (78, "")


async def test_without_a_secret_the_process_ends_with_one_clear_line(server):
    process, line = await run(NATS_URL=server.url)

    assert "exactly one of KEY_PASSPHRASE_FILE and KEY_KEK_FILE" in line
    assert await ended(process) == (78, "")


async def test_the_process_serves_until_it_is_told_to_stop(settings, client):
    process, line = await run(NATS_URL=settings.nats_url, KEY_PASSPHRASE_FILE=str(settings.passphrase_file))
    assert "serving" in line

    await Conversation(client).answer(GENERATE, {"algorithm": "rsa-2048"}, "keys.events.key.generated.*")
    process.send_signal(signal.SIGTERM)

    assert await ended(process) == (0, "")


def test_the_environment_says_where_the_server_and_the_secret_are():
    assert settings_from({"KEY_KEK_FILE": "/run/kek"}) == KeySettings(
        "nats://127.0.0.1:4222", kek_file=Path("/run/kek")
    )
    assert settings_from({"NATS_URL": "nats://n", "KEY_PASSPHRASE_FILE": "/run/p"}) == KeySettings(
        "nats://n", passphrase_file=Path("/run/p")
    )


def test_both_secrets_are_one_too_many():
    with pytest.raises(Unusable, match="exactly one"):
        settings_from({"KEY_KEK_FILE": "/run/kek", "KEY_PASSPHRASE_FILE": "/run/p"})


def _base64(raw):
    return base64.b64encode(raw).decode()


def _raw(text):
    return base64.b64decode(text)
