"""The key service in one process on a real server: outcomes of valid, invalid and repeated commands."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)
from pydantic_core import from_json

from services.key.secrets.imported_keys import SUITE
from services.key.service import key_service
from services.key.settings import KeySettings
from shared.contracts.key.value_types import import_proof, sealing_info
from shared.errors import Unusable
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from tests.support.service_client import ServiceClient, running
from tests.support.settings import key_settings
from tests.support.signing_inputs import authority_below, below, crl, key, root

ROOT = Path(__file__).parents[2]
GENERATE, SIGN = "key.generate", "key.sign"


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery staple\n")
    return key_settings(server.url, passphrase_file=path)


@pytest.fixture(name="talk")
async def _talk(settings, client):
    async with running(key_service(settings)):
        yield await ServiceClient(client, ids=True).connect(from_log=True)


async def test_a_command_without_headers_makes_a_key(talk):
    await talk.publish(GENERATE, b'{"algorithm":"ec-p256"}')

    (event,) = await talk.logged("keys.events.key.generated.*")
    body = from_json(event.data)

    assert event.subject == f"keys.events.key.generated.{body['key_id']}"
    assert (body["algorithm"], body["purpose"], body["provenance"]) == ("ec-p256", "digital-signature", "software")
    assert load_pem_public_key(body["public_key_pem"].encode()).curve.name == "secp256r1"
    assert event.headers["CIM-Correlation-Id"] == event.headers["CIM-Causation-Id"]
    assert event.headers["CIM-Source"] == "key"


async def test_a_command_told_twice_at_once_leads_to_one_event(talk):
    command_id = str(new_id())
    for _ in range(2):  # no Nats-Msg-Id: the commands' stream keeps both
        await talk.publish(GENERATE, {"algorithm": "ed25519"}, **{"CIM-Command-Id": command_id})

    await talk.accepted(GENERATE, {"algorithm": "ed25519"}, "key.generated")
    await asyncio.sleep(0.2)

    assert len(await talk.all_logged()) == 2


async def test_a_command_told_again_after_a_restart_leads_to_one_event(talk, settings):
    command = {"CIM-Command-Id": str(new_id())}
    body = {"key_id": str(new_id()), "algorithm": "ec-p384"}
    await talk.publish(GENERATE, body, **command)
    await talk.logged("keys.events.key.generated.*")

    async with running(key_service(settings)):
        await talk.publish(GENERATE, body, **command)
        await talk.accepted(GENERATE, {"algorithm": "ed25519"}, "key.generated")
        await asyncio.sleep(0.2)

        assert len(await talk.all_logged(f"keys.events.key.*.{body['key_id']}")) == 1


async def test_asking_for_the_same_key_in_another_command_is_repeating(talk):
    body = {"key_id": str(new_id()), "algorithm": "ec-p256"}
    await talk.accepted(GENERATE, body, "key.generated")

    repeated = await talk.accepted(GENERATE, body, "command.repeated")

    assert repeated["aggregate_id"] == body["key_id"]
    assert len(await talk.all_logged("keys.events.key.>")) == 1


@pytest.mark.parametrize(
    ("command", "body", "code", "words"),
    [
        (GENERATE, b"not json", "malformed", ["one JSON object"]),
        (GENERATE, b"[]", "malformed", ["one JSON object"]),
        (GENERATE, {"algorithm": "ec-p256", "colour": "red"}, "invalid", ["colour", "unknown field", "algorithm"]),
        (GENERATE, {"algorithm": "rot13"}, "invalid", ["algorithm", "ec-p256"]),
        (GENERATE, {"algorithm": "x25519", "purpose": "authentication"}, "invalid", ["key-management"]),
        ("key.polish", {"key_id": str(new_id())}, "unknown-command", ["polish", GENERATE]),
        ("key.revoke", {"key_id": str(new_id())}, "not-found", ["there is no key", "void_if_absent"]),
        ("key.destroy", {"key_id": str(new_id())}, "not-found", ["there is no key"]),
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
async def test_what_cannot_be_done_is_answered_and_the_service_goes_on(talk, command, body, code, words):
    rejection = await talk.rejected(command, body)

    assert rejection["code"] == code
    for word in words:
        assert word in rejection["message"]
    assert await talk.accepted(GENERATE, {"algorithm": "ed25519"}, "key.generated")


async def test_a_key_lives_from_generation_to_destruction(talk):
    key_id, recipient = str(new_id()), X25519PrivateKey.generate().public_key().public_bytes_raw()
    of_key, is_about = {"key_id": key_id}, f"keys.events.key.*.{key_id}"

    async def do(verb, **body):
        return (await talk.request(f"key.{verb}", of_key | body)).body

    await do("generate", algorithm="ed25519", exportable=True, owner="ada")
    signed = await do("sign", message="aGVsbG8=", signature_algorithm="ed25519", purpose="digital-signature")
    exported = await do("export", recipient_public_key=_base64(recipient))
    await do("revoke", reason="lost")
    await do("destroy")

    assert len(_raw(signed["signature"])) == 64
    assert len(_raw(exported["sealed_key"])) == 32 + 48 + 16
    kinds = [event.headers["CIM-Event-Type"] for event in await talk.all_logged(is_about)]
    assert kinds == ["KeyGenerated", "KeySigned", "KeyExported", "KeyRevoked", "KeyDestroyed"]
    assert (await talk.rejected(GENERATE, of_key | {"algorithm": "ed25519"}))["code"] == "conflict"


async def test_a_certificate_signing_key_refuses_other_messages_in_an_answer(talk):
    key_id = str(new_id())
    purpose = {"purpose": "certificate-signing"}
    await talk.accepted(GENERATE, {"key_id": key_id, "algorithm": "ec-p384"} | purpose, "key.generated")

    command = {"key_id": key_id, "message": "aGVsbG8=", "signature_algorithm": "ecdsa-sha384"} | purpose
    rejection = await talk.rejected(SIGN, command)

    assert rejection["code"] == "not-allowed"
    assert "TBSCertificate" in rejection["message"]


async def test_a_hierarchy_of_keys_signs_its_way_down_also_across_a_restart(talk, settings):
    of_purpose = {"purpose": "certificate-signing", "signature_algorithm": "ecdsa-sha256"}
    top, middle = [
        await talk.accepted(GENERATE, {"algorithm": "ec-p256", "purpose": "certificate-signing"}, "key.generated")
        for _ in range(2)
    ]
    of_root = root(load_pem_public_key(top["public_key_pem"].encode()))
    issuing = authority_below(of_root, load_pem_public_key(middle["public_key_pem"].encode()))
    leaf = below(issuing, key("leaf").public_key())

    async def sign(who, tbs):
        command = of_purpose | {"key_id": who["key_id"], "message": _base64(tbs)}
        return await talk.accepted(SIGN, command, "key.signed")

    await sign(top, of_root.tbs())
    signature = _raw((await sign(top, issuing.tbs()))["signature"])
    of_root.public.verify(signature, issuing.tbs(), ECDSA(SHA256()))
    async with running(key_service(settings)):  # a replica that has heard nothing yet; either may answer
        for serial in range(1, 9):
            await sign(middle, leaf.but(serial=serial).tbs())


async def test_an_authority_from_elsewhere_is_bound_and_then_signs(talk):
    made = await talk.accepted(GENERATE, {"algorithm": "ec-p256", "purpose": "certificate-signing"}, "key.generated")
    of_key = {"key_id": made["key_id"]}
    issuing = authority_below(root(key().public_key()), load_pem_public_key(made["public_key_pem"].encode()))
    pem = issuing.finished(key()).public_bytes(Encoding.PEM).decode()
    crl_of_it = {
        "message": _base64(crl(issuing)),
        "signature_algorithm": "ecdsa-sha256",
        "purpose": "certificate-signing",
    }
    assert "key.bind-authority" in (await talk.rejected(SIGN, of_key | crl_of_it))["message"]

    bound = await talk.accepted("key.bind-authority", of_key | {"certificate_pem": pem}, "key.authority-bound")

    assert bound["certificate_pem"] == pem
    assert await talk.accepted(SIGN, of_key | crl_of_it, "key.signed")


async def test_a_hundred_keys_asked_for_at_once_are_made_once_each(talk):
    await asyncio.gather(*(talk.publish(GENERATE, {"algorithm": "ec-p256"}) for _ in range(100)))

    events = await talk.logged("keys.events.>", 100)

    assert {event.headers["CIM-Event-Type"] for event in events} == {"KeyGenerated"}
    assert len({event.subject for event in events}) == 100


# -- the whole life, on the wire -----------------------------------------------------
class Key:
    """One key id, and what is asked of the service about it."""

    def __init__(self, talk):
        self.talk = talk
        self.key_id = str(new_id())

    async def do(self, verb, **body):
        outcome = await self.talk.request(f"key.{verb}", {"key_id": self.key_id} | body)
        assert outcome.kind.startswith("key."), outcome
        return outcome.body

    async def refused(self, verb, **body):
        return await self.talk.rejected(f"key.{verb}", {"key_id": self.key_id} | body)

    async def repeats(self, verb, **body):
        return await self.talk.accepted(f"key.{verb}", {"key_id": self.key_id} | body, "command.repeated")

    async def signs(self, message=b"hello", algorithm="ecdsa-sha256", purpose="digital-signature", **more):
        command = {"message": _base64(message), "signature_algorithm": algorithm, "purpose": purpose}
        return _raw((await self.do("sign", **command, **more))["signature"])

    async def exported(self, **more):
        """Opens the sealed key with the recipient's private key."""
        recipient = X25519PrivateKey.generate()
        told = await self.do("export", recipient_public_key=_base64(recipient.public_key().public_bytes_raw()), **more)
        return SUITE.decrypt(_raw(told["sealed_key"]), recipient, sealing_info(self.key_id))

    def sealed(self, content, told):
        """Sealed to the key that `prepare-import` told of."""
        recipient = X25519PublicKey.from_public_bytes(_raw(told["recipient_public_key"]))
        return _base64(SUITE.encrypt(content, recipient, sealing_info(self.key_id)))


def _pem(public):
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _pkcs8(private):
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


SIGN_HELLO = {"message": "aGVsbG8=", "signature_algorithm": "ecdsa-sha256", "purpose": "digital-signature"}


async def test_a_key_made_elsewhere_is_imported_signs_and_leaves_again(talk):
    key, theirs = Key(talk), ec.generate_private_key(ec.SECP256R1())
    prepared = await key.do("prepare-import")
    proof = theirs.sign(import_proof(key.key_id, _raw(prepared["recipient_public_key"])), ec.ECDSA(SHA256()))
    command = {
        "algorithm": "ec-p256",
        "exportable": True,
        "owner": "Example AG",
        "owner_kind": "organization",
        "sealed_key": key.sealed(_pkcs8(theirs), prepared),
        "public_key_pem": _pem(theirs.public_key()),
    }

    unproven = await key.refused("import", **command, proof=_base64(b"no proof"))
    told = await key.do("import", **command, proof=_base64(proof))
    await key.repeats("import", **command, proof=_base64(proof))

    assert unproven["code"] == "invalid"
    assert "import_proof" in unproven["message"]
    assert (told["provenance"], told["public_key_pem"]) == ("imported", command["public_key_pem"])
    theirs.public_key().verify(await key.signs(), b"hello", ec.ECDSA(SHA256()))
    back = load_der_private_key(await key.exported(), None)
    assert back.private_numbers() == theirs.private_numbers()
    kinds = [event.headers["CIM-Event-Type"] for event in await talk.all_logged(f"keys.events.key.*.{key.key_id}")]
    assert kinds == ["KeyImportPrepared", "KeyImported", "KeySigned", "KeyExported"]


async def test_a_derived_key_is_the_same_again_and_tells_how(talk):
    made = []
    for _ in range(2):
        key = Key(talk)
        prepared = await key.do("prepare-import")
        command = {"algorithm": "ec-p384", "purpose": "certificate-signing", "organization": "Example AG"}
        sealed = key.sealed(b"correct horse battery staple", prepared)
        made.append(await key.do("derive", **command, path="pki/root/2026", sealed_passphrase=sealed))

    assert made[0]["public_key_pem"] == made[1]["public_key_pem"]
    assert made[0]["fingerprint_sha256"] == "f1f63c42a9c47f6e7cb1807f457638764e860f35c5b9e5f84099d650f4480693"
    assert (made[0]["provenance"], made[0]["derivation"]["path"]) == ("derived", "pki/root/2026")
    assert b"correct horse" not in b"".join([event.data for event in await talk.all_logged()])


async def test_a_key_gives_way_to_its_successor(talk):
    old, new = Key(talk), Key(talk)
    await old.do("generate", algorithm="ec-p256")
    missing = await old.refused("rotate", successor_id=new.key_id)
    await new.do("generate", algorithm="ec-p384")
    first = await old.do("rotate", successor_id=new.key_id, overlap_days=7)
    early = await old.refused("complete-rotation")
    await old.signs()
    await old.do("cancel-rotation", reason="not yet")
    await old.do("rotate", successor_id=new.key_id)
    done = await old.do("complete-rotation")
    await new.signs(algorithm="ecdsa-sha384")

    assert missing["code"] == "not-found"
    assert (early["code"], early["retryable"]) == ("conflict", False)
    assert first["overlap_until"][:10] in early["message"]
    assert done["successor_id"] == new.key_id
    assert (await old.refused("sign", **SIGN_HELLO))["code"] == "conflict"


async def test_a_successor_that_was_revoked_a_moment_ago_takes_nobody_s_place(talk):
    old, new = Key(talk), Key(talk)
    await old.do("generate", algorithm="ec-p256")
    await new.do("generate", algorithm="ec-p256")
    await new.do("revoke")

    assert "revoked" in (await old.refused("rotate", successor_id=new.key_id))["message"]


async def test_a_key_signs_only_what_enough_people_approved(talk):
    key, digest = Key(talk), sha256(b"hello").hexdigest()
    await key.do("generate", algorithm="ec-p256", approvals=2)
    approvals = [
        {"actor": actor, "message_sha256": digest, "command_id": str(new_id()), "at": "2026-11-21T12:00:00Z"}
        for actor in ("ada", "bob")
    ]

    alone = await key.refused("sign", **SIGN_HELLO, approvals=approvals[:1])
    together = await key.do("sign", **SIGN_HELLO, approvals=approvals)

    assert alone["code"] == "not-allowed"
    assert alone["details"] == {"message_sha256": digest, "missing": 1, "approved_by": ["ada"]}
    assert together["approved_by"] == ["ada", "bob"]


async def test_only_a_key_that_answers_for_status_signs_many_things_at_once(talk):
    key = Key(talk)
    await key.do("generate", algorithm="ec-p256")
    command = {"messages": ["b25l", "dHdv"], "signature_algorithm": "ecdsa-sha256", "purpose": "digital-signature"}

    refused = await key.refused("sign-batch", **command)

    assert refused["code"] == "not-allowed"
    assert "one message at a time" in refused["message"]


async def test_a_key_of_nats_leaves_as_nats_reads_it(talk):
    key = Key(talk)
    told = await key.do("generate", algorithm="ed25519", purpose="nats-account", exportable=True)

    seed = await key.exported(format="nkey-seed")
    shown = await key.do("export-public", format="nkey")

    raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))[2:34]
    public = Ed25519PrivateKey.from_private_bytes(raw).public_key()
    assert seed.startswith(b"SA")
    assert shown["public_key"] == told["nkey"]
    assert base64.b32decode(told["nkey"])[1:33] == public.public_bytes_raw()


async def test_a_key_leaves_in_a_pkcs12_that_openssl_opens(talk, tmp_path):
    key = Key(talk)
    await key.do("generate", algorithm="rsa-2048", purpose="authentication", exportable=True)

    content = from_json(await key.exported(format="pkcs12"))

    path = tmp_path / "key.p12"
    path.write_bytes(_raw(content["pkcs12"]))
    opened = await asyncio.to_thread(
        subprocess.run,
        ["openssl", "pkcs12", "-in", path, "-nodes", "-passin", f"pass:{content['password']}"],
        check=True,
        capture_output=True,
    )
    assert b"BEGIN PRIVATE KEY" in opened.stdout


@pytest.mark.parametrize(
    ("form", "begins"),
    [("pem", "-----BEGIN PUBLIC KEY"), ("der", "MFkw"), ("jwk", "{"), ("ssh", "ecdsa-sha2-nistp256 ")],
)
async def test_a_public_key_is_shown_also_when_it_is_revoked(talk, form, begins):
    key = Key(talk)
    await key.do("generate", algorithm="ec-p256")
    await key.do("revoke")

    assert (await key.do("export-public", format=form))["public_key"].startswith(begins)


async def test_a_key_expires_is_put_away_and_destroyed(talk, client):
    key, soon = Key(talk), datetime.now(UTC) + timedelta(seconds=2)
    await key.do("generate", algorithm="ec-p256", expires_at=soon.isoformat())
    early = await key.refused("expire")
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.1)

    late = await key.refused("sign", **SIGN_HELLO)
    for verb in ("expire", "archive", "destroy"):
        await key.do(verb)
    await key.repeats("expire")
    await key.repeats("destroy")

    assert (early["code"], late["code"]) == ("conflict", "conflict")
    assert "expired on" in late["message"]
    entry = await KeyValue(client.jetstream(), "KEYS_SECRETS").get(f"key.{key.key_id}")
    assert from_json(entry.value) == {"v": 1, "key_id": key.key_id, "destroyed": True}


async def test_an_organisation_s_key_changes_hands(talk):
    key = Key(talk)
    await key.do("generate", algorithm="ec-p256", owner="Example AG", owner_kind="organization")

    told = await key.do("transfer", owner="Unit 7", owner_kind="unit")

    assert (told["from_owner"], told["to_owner"], told["to_owner_kind"]) == ("Example AG", "Unit 7", "unit")
    assert (await key.refused("transfer", owner="ada", owner_kind="person"))["code"] == "not-allowed"


async def test_rsa_keys_in_the_making_hold_up_nobody(talk):
    slow = [{"CIM-Command-Id": str(new_id())} for _ in range(6)]
    for command in slow:
        await talk.publish(GENERATE, {"algorithm": "rsa-4096"}, **command)

    await talk.accepted(GENERATE, {"algorithm": "ec-p256"}, "key.generated")

    assert len(await talk.all_logged("keys.events.key.generated.*")) < 7
    await talk.logged("keys.events.key.generated.*", 7, within_s=60)


async def test_ml_dsa_is_refused_where_it_is_not_allowed(talk):
    refused = await talk.rejected(GENERATE, {"algorithm": "ml-dsa-65"})
    assert refused["code"] == "not-allowed"
    assert "ENABLE_ML_DSA=1" in refused["message"]


async def test_where_ml_dsa_is_allowed_its_signatures_verify(settings, client):
    async with running(key_service(settings.model_copy(update={"ml_dsa": True}))):
        key = Key(await ServiceClient(client, ids=True).connect(from_log=True))
        made = await key.do("generate", algorithm="ml-dsa-65")

        signature = await key.signs(algorithm="ml-dsa-65")

        load_pem_public_key(made["public_key_pem"].encode()).verify(signature, b"hello")
        assert await key.signs(algorithm="ml-dsa-65") == signature


def test_the_environment_says_whether_ml_dsa_is_allowed():
    assert KeySettings.read({"KEY_KEK": "00" * 32, "ENABLE_ML_DSA": "1"}).ml_dsa
    assert not KeySettings.read({"KEY_KEK": "00" * 32, "ENABLE_ML_DSA": "0"}).ml_dsa


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
    async with running(key_service(settings)):
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
    process, line = await run(NATS_URL=settings.nats.url, KEY_PASSPHRASE=settings.secret.text)
    assert "serving" in line

    service = await ServiceClient(client, ids=True).connect(from_log=True)
    await service.accepted(GENERATE, {"algorithm": "rsa-2048"}, "key.generated")
    process.send_signal(signal.SIGTERM)

    assert await ended(process) == (0, "")


def _base64(raw):
    return base64.b64encode(raw).decode()


def _raw(text):
    return base64.b64decode(text)


def test_the_switch_is_said_in_the_same_words_to_every_service():
    assert KeySettings.read({"KEY_KEK": "00" * 32, "ENABLE_ML_DSA": "true"}).ml_dsa
    with pytest.raises(Unusable, match="ENABLE_ML_DSA must be true or false"):
        KeySettings.read({"KEY_KEK": "00" * 32, "ENABLE_ML_DSA": "perhaps"})
