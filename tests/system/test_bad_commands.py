"""Malformed commands: each has one rejection that names the defect and the correction, and the service continues."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import nats.js.errors
import pytest
import pytest_asyncio

from shared.contracts.rejection import RejectionCode
from shared.messages.ids import new_id
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "0192f0c1-0000-7000-8000-000000000000"
EMPTY = {"serial": "42000012", "slot": "95"}
PERSON = {"subject": {"common_name": "Eve"}, "yubikey_serial": "42000012", "validity_days": 365}
START = {"issuer_id": UNKNOWN, **PERSON, "purpose": "authentication", "key_origin": "on-device"}
CREATE = {"profile": "authentication", "subject": {"common_name": "Eve"}, "validity_days": 365}
A_COMMAND_OF = {
    "key": ("key.generate", {"algorithm": "ec-p256"}),
    "certificate": ("certificate.revoke", {"certificate_id": UNKNOWN}),
    "yubikey": ("yubikey.verify-slot", EMPTY),
    "saga": ("saga.certificate-provisioning.start", START),
}
WRONG_TYPE = {"key": ["algorithm", 7], "certificate": ["reason", []], "yubikey": ["slot", 154], "saga": ["replace", 1]}


def of_every_service():
    """Defects of commands to any service: the body, and the required text of the rejection."""
    for service, (command, good) in A_COMMAND_OF.items():
        wrong = dict([WRONG_TYPE[service]])
        yield "not JSON", command, b"algorithm: ec-p256", "malformed", ["one JSON object", *good]
        yield "an array", command, b"[1, 2]", "malformed", ["one JSON object"]
        yield "a string", command, b'"hello"', "malformed", ["one JSON object"]
        yield "null", command, b"null", "malformed", ["one JSON object"]
        yield "nothing", command, b"", "malformed", ["one JSON object", *good]
        yield "not UTF-8", command, b'{"label":"\xff\xfe"}', "malformed", ["UTF-8"]
        yield "half of it", command, json.dumps(good).encode()[:-3], "malformed", ["one JSON object"]
        yield "nested too deeply", command, b"[" * 50_000, "malformed", ["one JSON object"]
        yield "unknown field", command, {**good, "colour": "red"}, "invalid", ["colour", "unknown field", *good]
        yield "missing fields", command, {}, "invalid", [next(iter(good)), "required"]
        yield "wrong type", command, {**good, **wrong}, "invalid", list(wrong)
        yield "200 kB", command, b'{"label":"' + b"x" * 200_000 + b'"}', "invalid", ["200012", "131072"]
        yield "unknown verb", f"{service}.polish", good, "unknown-command", ["polish", f"keys.commands.{service}."]


def of_one_service():
    yield "unknown id", "key.revoke", {"key_id": UNKNOWN}, "not-found", ["there is no key", "void_if_absent"]
    yield "unknown id", "key.export", {"key_id": UNKNOWN, "recipient_public_key": "A" * 43 + "="}, "not-found", []
    yield "an id that is none", "key.revoke", {"key_id": "my-key"}, "invalid", ["key_id", "UUID"]
    yield "unknown algorithm", "key.generate", {"algorithm": "rot13"}, "invalid", ["algorithm", "ec-p256", "x25519"]
    yield "unfit purpose", "key.generate", {"algorithm": "x25519", "purpose": "authentication"}, "invalid", []
    yield "bytes in no base64", "key.export", {"key_id": UNKNOWN, "recipient_public_key": "?"}, "invalid", ["base64"]

    sign = {"certificate_id": UNKNOWN, "signature": "aGVsbG8="}
    yield "unknown id", "certificate.sign", sign, "not-found", ["create it first"]
    yield "unknown reason", "certificate.revoke", {"certificate_id": UNKNOWN, "reason": "mood"}, "invalid", ["reason"]
    yield "no key at all", "certificate.create", CREATE, "invalid", ["exactly one of public_key_pem and csr_pem"]
    no_pem = {**CREATE, "issuer_id": UNKNOWN, "public_key_pem": "-----BEGIN NOTHING"}
    yield "unknown issuer", "certificate.create", no_pem, "not-found", ["issue with"]

    yield "absent YubiKey", "yubikey.verify-slot", {**EMPTY, "serial": "49999999"}, "unavailable", ["not plugged in"]
    yield "no such slot", "yubikey.verify-slot", {**EMPTY, "slot": "9b"}, "invalid", ["slot", "9a"]
    yield "empty slot", "yubikey.verify-slot", EMPTY, "conflict", ["95"]
    yield "certificate for no key", "yubikey.import-certificate", {**EMPTY, "certificate_pem": "x"}, "invalid", ["pem"]
    exported = {**EMPTY, "key_id": UNKNOWN, "algorithm": "ec-p256", "sealed_key": "aGVsbG8="}
    yield "sealed for somebody else", "yubikey.import-key", exported, "invalid", ["does not open"]

    yield "unknown id", "saga.cancel", {"saga_id": UNKNOWN}, "not-found", ["there is no saga"]
    yield "unknown saga type", "saga.world-peace.start", {}, "unknown-command", ["pki-bootstrap.start"]
    yield "unknown purpose", A_COMMAND_OF["saga"][0], {**START, "purpose": "fun"}, "invalid", ["authentication"]


def _named(kind, command, *_):
    return f"{command}: {kind}"


BAD = [pytest.param(case, id=_named(*case)) for case in [*of_every_service(), *of_one_service()]]


class Hearing:
    """All events from some moment on, as a subscriber without JetStream hears them."""

    def __init__(self):
        self.heard = []

    async def hear(self, message):
        self.heard.append((message.subject.split("."), json.loads(message.data)))

    def rejections(self):
        return [body for tokens, body in self.heard if tokens[2:4] == ["command", "rejected"]]


@pytest_asyncio.fixture(loop_scope="module", name="hearing")
async def _hearing(suite):
    hearing = Hearing()
    subscription = await suite.client.subscribe("keys.events.>", cb=hearing.hear)
    yield hearing
    await subscription.unsubscribe()


async def rejected_once(suite, hearing, command, body, headers=None):
    """Publish it as it is; the one rejection that it leads to, once the service has answered a good command too."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    await suite.client.jetstream().publish(f"keys.commands.{command}", data, headers=headers)
    await until(hearing.rejections)
    await a_good_command_works(suite, command.split(".")[0])
    (rejection,) = hearing.rejections()
    assert len(hearing.heard) == 2
    return rejection


async def a_good_command_works(suite, service):
    unborn = {"certificate_id": str(new_id()), "void_if_absent": True}
    command, body, kind = {
        "key": ("key.generate", {"algorithm": "ed25519"}, "key.generated"),
        "certificate": ("certificate.revoke", unborn, "certificate.revoked"),
        "yubikey": ("yubikey.prepare-import", EMPTY, "yubikey.import-prepared"),
        "saga": ("saga.pki-bootstrap.start", suite.bootstrap_request, "command.repeated"),
    }[service]
    answer = await suite.ask(command, body)
    assert ".".join(answer.tokens[2:4]) == kind, answer.body


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_command_is_rejected_once_and_the_service_goes_on(suite, hearing, case):
    _, command, body, code, words = case

    rejection = await rejected_once(suite, hearing, command, body)

    assert rejection["code"] == code, rejection
    assert rejection["retryable"] == (code == "unavailable")
    for word in words:
        assert word in rejection["message"] + json.dumps(rejection["details"])


@pytest.mark.parametrize("service", A_COMMAND_OF)
@pytest.mark.parametrize("header", ["CIM-Command-Id", "CIM-Correlation-Id", "CIM-Causation-Id"])
async def test_a_header_that_should_be_an_id_and_is_none_is_rejected(suite, hearing, service, header):
    command, body = A_COMMAND_OF[service]

    rejection = await rejected_once(suite, hearing, command, body, {header: "command number one"})

    assert rejection["code"] == "malformed"
    assert header in rejection["message"]
    assert "UUID" in rejection["message"]


@pytest.mark.parametrize("service", A_COMMAND_OF)
async def test_an_actor_too_long_to_be_passed_on_is_rejected(suite, hearing, service):
    rejection = await rejected_once(suite, hearing, *A_COMMAND_OF[service], {"CIM-Actor": "x" * 300})

    assert (rejection["code"], "CIM-Actor" in rejection["message"]) == ("malformed", True)


async def test_a_revoked_key_signs_nothing_and_is_never_made_again(suite):
    key = await suite.ask("key.generate", {"algorithm": "ec-p256"})
    of_key = {"key_id": key.body["key_id"]}
    signing = {**of_key, "message": "aGVsbG8=", "signature_algorithm": "ecdsa-sha256", "purpose": "digital-signature"}
    assert (await suite.ask("key.sign", signing)).tokens[3] == "signed"
    assert (await suite.ask("key.destroy", of_key)).body["code"] == "conflict"
    await suite.ask("key.revoke", of_key)

    for command, body in (("key.sign", signing), ("key.generate", {**of_key, "algorithm": "ec-p256"})):
        refused = await suite.ask(command, body)
        assert (refused.body["code"], "is revoked" in refused.body["message"]) == ("conflict", True)


async def test_a_certificate_is_not_signed_by_anybodys_signature_nor_once_it_is_revoked(suite):
    key = await suite.ask("key.generate", {"algorithm": "ec-p256"})
    wish = {**CREATE, "issuer_id": suite.issuer_id, "public_key_pem": key.body["public_key_pem"]}
    created = await suite.ask("certificate.create", wish)
    signing = {"certificate_id": created.body["certificate_id"], "signature": "aGVsbG8="}

    assert (await suite.ask("certificate.sign", signing)).body["code"] == "invalid"
    await suite.ask("certificate.revoke", {"certificate_id": created.body["certificate_id"]})
    refused = await suite.ask("certificate.sign", signing)

    assert (refused.body["code"], "is revoked" in refused.body["message"]) == ("conflict", True)


@pytest.mark.parametrize(
    "subject", ["keys.commands.nobody.generate", "keys.commands.key", "keys.commands", "keys.other"]
)
async def test_a_command_that_no_service_owns_cannot_even_be_published(suite, subject):
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await suite.client.jetstream().publish(subject, b"{}")


async def test_in_the_end_every_bad_command_has_one_rejection_and_its_code_is_of_the_contract(suite):
    async def all_is_answered():
        return not (await suite.client.jetstream().stream_info("KEYS_COMMANDS")).state.messages

    await until(all_is_answered)
    rejections = await suite.events("keys.events.command.rejected.*")

    assert set(Counter(event.body["command_id"] for event in rejections).values()) == {1}
    for event in rejections:
        fields = {"command_id", "command_type", "aggregate_id", "code", "message", "details", "retryable"}
        assert set(event.body) == fields
        assert event.body["code"] in set(RejectionCode)
        assert event.body["command_id"] == event.headers["CIM-Causation-Id"] == event.tokens[4]
        assert event.body["message"]


async def test_a_hundred_bad_commands_at_once_are_a_hundred_rejections(suite):
    before = len(await suite.events("keys.events.command.rejected.*"))
    js = suite.client.jetstream()
    commands = [command for command, _ in A_COMMAND_OF.values()]
    await asyncio.gather(*(js.publish(f"keys.commands.{commands[i % 4]}", b"bad") for i in range(100)))

    async def all_are_rejected():
        return len(await suite.events("keys.events.command.rejected.*")) == before + 100

    await until(all_are_rejected)
