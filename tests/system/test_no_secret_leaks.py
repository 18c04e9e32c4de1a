"""No secret is anywhere in the clear: not in a message, a header, a log, a stream's file or a device's file.

The real secrets are taken from where they are kept, as their owners open them; everything is searched for them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from nats.js.errors import NotFoundError

from services.key.secrets.imported_keys import SUITE
from services.key.secrets.kek import Passphrase, unlock
from services.key.secrets.sealing import Entry, open_entry, read
from services.virtual_yubikey import attestation
from services.virtual_yubikey import state as device_state
from services.virtual_yubikey.piv_keys import to_pkcs8
from services.virtual_yubikey.sealing import SealedFile
from services.yubikey.state.sealing import derive_key
from shared.contracts.key.value_types import Algorithm, import_proof, sealing_info
from shared.nats.kv import KeyValue
from tests.support.in_memory_ca import private_key, public_pem
from tests.support.suite import suite_up
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
P256 = Algorithm.EC_P256
SERIALS = [42000001, 42000002]
PIN = {"as JSON": b'"123456"', "as it is sent to the card": b"123456\xff\xff", "in hexadecimal": b"313233343536ffff"}
MANAGEMENT_KEY = device_state.DEFAULT_MANAGEMENT_KEY
DER = {  # how private keys begin; a public key's encoding has none of these (RFC 5958, RFC 5915, RFC 8017)
    "PKCS#8 EC": bytes.fromhex("020100301306072a8648ce3d0201"),
    "PKCS#8 EC P-384": bytes.fromhex("020100301006072a8648ce3d0201"),
    "PKCS#8 RSA": bytes.fromhex("020100300d06092a864886f70d0101"),
    "PKCS#8 Ed25519": bytes.fromhex("020100300506032b6570"),
    "PKCS#8 X25519": bytes.fromhex("020100300506032b656e"),
    "SEC1 P-256": bytes.fromhex("30770201010420"),
    "SEC1 P-384": bytes.fromhex("3081a40201010430"),
    "SEC1 in PKCS#8": bytes.fromhex("306b0201010420"),
    "PKCS#1": bytes.fromhex("02010002820101"),
    "PEM": b"PRIVATE KEY-----",
}
BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
SHORTEST = 16  # bytes; what is shorter is met by chance

WISHES = [
    {"purpose": "authentication", "algorithm": "rsa-2048"},
    {"purpose": "digital-signature"},
    {"purpose": "key-management", "key_origin": "imported"},
    {"slot": "82", "key_origin": "imported"},
    {"slot": "83", "key_origin": "imported", "algorithm": "ed25519"},
    {"slot": "84", "key_origin": "imported", "doomed": True},
    {"slot": "85", "doomed": True},
    {"purpose": "digital-signature", "key_origin": "imported"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="lived")
async def _lived(tmp_path_factory):
    """A suite that has done and undone a bit of everything, with services killed in the midst of it."""
    async with suite_up(tmp_path_factory.mktemp("leaks") / "state", SERIALS) as suite:
        suite.commands, sagas = [], []

        async def hear(message):
            suite.commands.append((message.subject, dict(message.headers or {}), message.data))

        listening = await suite.client.subscribe("keys.commands.>", cb=hear)
        await suite.bootstrap()
        for serial in map(str, SERIALS):
            sagas += [await suite.provision(yubikey_serial=serial, **wish) for wish in WISHES]
            for name in ("key", "yubikey"):
                os.kill(suite.pid(name), signal.SIGKILL)
            for saga_id in sagas:
                await suite.end_of(saga_id)
        suite.own = await _bring_and_take(suite)
        await _change_the_passphrase(suite)
        await listening.unsubscribe()
        for command in ("key.import", "key.steal"):  # a command that there is, and one that there is not
            await suite.ask(command, {"pin": "123456", "private_key": "-----BEGIN PRIVATE KEY-----"})
        yield suite


async def _bring_and_take(suite):
    """Keys imported, derived and exported in each form: what of it is secret, as its owner knows it."""
    secrets, mine = {"organisation's passphrase": b"seven quiet otters inspect amber lanterns"}, private_key(P256, 7)
    pkcs8 = mine.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for kind in ("import", "derive"):
        told = await suite.ask("key.prepare-import", {})
        key_id, recipient = told.body["key_id"], base64.b64decode(told.body["recipient_public_key"])
        body = {"key_id": key_id, "algorithm": "ec-p256"}
        if kind == "import":
            proof = mine.sign(import_proof(key_id, recipient), ec.ECDSA(SHA256()))
            body |= {"sealed_key": _sealed(pkcs8, recipient, key_id), "proof": base64.b64encode(proof).decode()}
            body |= {"public_key_pem": public_pem(mine)}
        else:
            sealed = _sealed(secrets["organisation's passphrase"], recipient, key_id)
            body |= {"sealed_passphrase": sealed, "organization": "Acme", "path": "pki/root/2026"}
        answer = await suite.ask(f"key.{kind}", body)
        assert answer.tokens[3] == {"import": "imported", "derive": "generated"}[kind], answer.body
    return secrets | _private_parts("imported", pkcs8) | await _exported(suite)


async def _exported(suite):
    secrets, recipient = {}, X25519PrivateKey.generate()
    public = base64.b64encode(recipient.public_key().public_bytes_raw()).decode()
    for form, purpose, algorithm in (
        ("pkcs8", "digital-signature", "ec-p256"),
        ("pkcs12", "digital-signature", "ec-p256"),
        ("nkey-seed", "nats-user", "ed25519"),
    ):
        wish = {"algorithm": algorithm, "purpose": purpose, "exportable": True}
        key_id = (await suite.ask("key.generate", wish)).body["key_id"]
        answer = await suite.ask("key.export", {"key_id": key_id, "recipient_public_key": public, "format": form})
        assert answer.tokens[3] == "exported", answer.body
        content = SUITE.decrypt(base64.b64decode(answer.body["sealed_key"]), recipient, sealing_info(key_id))
        if form == "pkcs12":
            secrets["pkcs12 password"] = json.loads(content)["password"].encode()
            secrets["pkcs12"] = base64.b64decode(json.loads(content)["pkcs12"])
        else:
            secrets[form] = content
    return secrets


def _sealed(content, recipient, key_id):
    public = X25519PublicKey.from_public_bytes(recipient)
    return base64.b64encode(SUITE.encrypt(content, public, sealing_info(key_id))).decode()


async def _change_the_passphrase(suite):
    """Another process is given the new one and the old one; when it says so, the suite's own starts with the new."""
    secret = suite.local.state / "secrets" / "key.passphrase"
    previous = secret.with_name("key.previous")
    shutil.copy(secret, previous)
    secret.write_text("another altogether different passphrase")
    environment = suite.local.environment("key") | {"KEY_PREVIOUS_PASSPHRASE_FILE": str(previous)}
    log = suite.local.log("key-changing")
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *suite.local.command("key"), cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    try:
        await until(lambda: "can be removed" in log.read_text(), within=30)
        os.kill(suite.pid("key"), signal.SIGKILL)
        assert (await suite.ask("key.generate", {"algorithm": "ec-p256"})).tokens[3] == "generated"
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="secrets")
async def _secrets(lived):
    secrets = {"management key": MANAGEMENT_KEY}
    secrets |= lived.own
    for name in ("key.passphrase", "key.previous", "yubikey.secret"):
        secrets[name] = (lived.local.state / "secrets" / name).read_bytes().strip()
    root = secrets["yubikey.secret"]
    sealing = derive_key(root, b"cim-keys/yubikey/virtual-devices/v1")
    secrets |= {"sealing key": sealing, "HPKE key": derive_key(root, b"cim-keys/yubikey/sealing/v1")}
    secrets |= _keys_on_devices(lived.local.state / "yubikey" / "virtual", sealing)
    return secrets | await _keys_in_the_key_service(lived, secrets["key.passphrase"].decode())


def _keys_on_devices(directory, sealing):
    root = SealedFile(directory / "attestation-root.sealed", "attestation-root", sealing).read()
    found = _private_parts("attestation root", to_pkcs8(attestation.from_json(root).key))
    for serial in SERIALS:
        content = SealedFile(directory / f"device-{serial}.sealed", f"device-{serial}", sealing).read()
        for slot, key in device_state.from_json(content).keys.items():
            found |= _private_parts(f"{serial} {slot:x}", to_pkcs8(key.private_key))
    return found


async def _keys_in_the_key_service(lived, passphrase):
    bucket = KeyValue(lived.client.jetstream(), "KEYS_SECRETS")
    kek, found = await unlock(bucket, Passphrase(passphrase)), {}
    async for document in bucket.all():
        if document.key.startswith("key.") and isinstance(entry := read(document.value), Entry):
            found |= _private_parts(document.key, open_entry(kek, entry, entry.key_id))
    return found


def _private_parts(name, pkcs8):
    key = load_der_private_key(pkcs8, None)
    parts = {f"{name} PKCS#8": pkcs8}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        for part in "pqd":
            value = getattr(numbers, part)
            parts[f"{name} {part}"] = value.to_bytes((value.bit_length() + 7) // 8)
    elif hasattr(key, "private_numbers"):
        parts[f"{name} scalar"] = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)
    else:
        parts[f"{name} seed"] = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return parts


def spellings(secret):
    """The bytes themselves, in hexadecimal, and in base64 wherever in a longer text they may begin."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        mixed_with_others = (0, 2, 3)[before], (0, 3, 2)[(before + len(secret)) % 3]
        alone = text[mixed_with_others[0] : len(text) - mixed_with_others[1]]
        yield alone
        yield alone.replace(b"+", b"-").replace(b"/", b"_")


def found_in(haystack, needles):
    return [name for name, spelled in needles.items() if any(spelling in haystack for spelling in spelled)]


def spelled(secrets):
    assert all(len(secret) >= SHORTEST for secret in secrets.values())
    return {name: set(spellings(secret)) for name, secret in secrets.items()} | {
        **{f"PIN {how}": {text} for how, text in PIN.items()},
        **{f"begins {kind}": {begins} for kind, begins in DER.items()},
    }


async def every_message(suite):
    """Subject, headers and data of every message in every stream, those of work queues by their places."""
    js = suite.client.jetstream()
    for stream in await js.streams_info():
        name, sequence = stream.config.name, 0
        while sequence < stream.state.last_seq and stream.state.messages:
            try:
                message = await js.get_msg(name, seq=sequence + 1, subject=">", next=True)
            except NotFoundError:
                break
            sequence = message.seq
            yield message.subject, dict(message.headers or {}), message.data or b""


def layers(content):
    """The content, and all that is base64 in it, decoded, again and again."""
    yield content
    for text in BASE64.findall(content):
        try:
            decoded = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        yield from layers(decoded)


def files_of(suite):
    state = suite.local.state
    return [path for path in state.rglob("*") if path.is_file() and (state / "secrets") not in path.parents]


async def test_secrets_of_every_kind_are_known_and_would_be_found(lived, secrets):
    kinds = " ".join(secrets)
    assert all(word in kinds for word in ("scalar", "seed", " p", "key.", "42000001 9a", "42000002 9d", "f9"))
    for begins in (b"", b"x", b"xy"):
        hidden = base64.b64encode(begins + secrets["management key"] + b"z")
        assert found_in(hidden, spelled(secrets)) == ["management key"]
    (generated, *_) = await lived.events("keys.events.key.generated.*")
    public_key = "".join(generated.body["public_key_pem"].splitlines()[1:-1]).encode()[:40]
    assert any(public_key in path.read_bytes() for path in files_of(lived)), "what is in the streams' files is found"


async def test_no_file_has_a_secret_in_the_clear(lived, secrets):
    needles = spelled(secrets)
    files = files_of(lived)

    places = {path.relative_to(lived.local.state).parts[0] for path in files}
    assert places == {"logs", "nats", "yubikey", "pids", "server.conf"}
    for path in files:
        content = path.read_bytes()
        wanted = needles if path.suffix in {".log", ".sealed"} else _without_the_users_own_words(needles)
        assert found_in(content, wanted) == [], path


async def test_no_message_has_a_secret_in_it_nor_in_what_its_base64_holds(lived, secrets):
    needles = spelled(secrets)
    messages = [message async for message in every_message(lived)]

    assert {subject.split(".")[1] for subject, *_ in [*messages, *lived.commands]} >= {"commands", "events", "timers"}
    assert any("sealed_key" in data.decode() for _, _, data in lived.commands)
    for subject, headers, data in [*messages, *lived.commands]:
        for content in (subject.encode(), json.dumps(headers).encode(), *layers(data)):
            assert found_in(content, needles) == [], subject


async def test_a_rejection_does_not_repeat_what_was_sent(lived):
    rejections = [event.body for event in await lived.events("keys.events.command.rejected.*")]

    assert {"ImportKey", "keys.commands.key.steal"} <= {rejection["command_type"] for rejection in rejections}
    assert "123456" not in "".join(rejection["message"] for rejection in rejections)
    assert "PRIVATE KEY" not in json.dumps(rejections)


def _without_the_users_own_words(needles):
    """Excludes secrets in the file of the command stream, where a user sent them by mistake."""
    return {name: spelled for name, spelled in needles.items() if name not in {"PIN as JSON", "begins PEM"}}
