"""Decoding of commands: defects become rejections that help and disclose nothing."""

import base64
import json
from dataclasses import asdict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts.base import DERIVED, Command
from shared.contracts.certificate.commands import CreateCertificate, SignCertificate
from shared.contracts.certificate.value_types import DistinguishedName, Profile
from shared.contracts.key.commands import ExportKey, GenerateKey, SignWithKey
from shared.contracts.key.events import KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm
from shared.contracts.registry import MESSAGES
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slots import ClearSlot, GenerateSlotKey, Slot
from shared.decider import Rejection
from shared.errors import Poison
from shared.messages.catalog import catalog
from shared.messages.envelope import decode_command, decode_event, encode_command, encode_event, subject_of
from shared.messages.headers import Lineage
from shared.messages.ids import derive_id, id_from_stream_position

KEY_ID = "0192f0c1-0000-7000-8000-00000000000a"
COMMAND_ID = UUID("0192f0c1-0000-7000-8000-000000000001")
COMMANDS = {name: kind for name, kind in MESSAGES.items() if issubclass(kind, Command)}


def _message(subject, body, headers=None):
    """Returns a message like nats-py's: the fifth of the stream, delivered once."""
    reply = "$JS.ACK.KEYS_COMMANDS.key.1.5.5.1795262400000000000.0"
    return Msg(_client=Client(), subject=subject, reply=reply, data=body, headers=headers)


def _read(kind, body, headers=None):
    subject = str(catalog().patterns[kind.__name__])
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    owner = subject.split(".")[2]
    return decode_command(_message(subject, data, headers), owner, COMMANDS)


def _refusal(kind, body):
    received = _read(kind, body)
    assert isinstance(received.body, Rejection), received.body
    return received.body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"algorithm=ec-p256", id="no JSON"),
        pytest.param(b'{"algorithm": "ec-p256"} {}', id="two values"),
        pytest.param(b"{'algorithm': 'ec-p256'}", id="wrong quotes"),
        pytest.param(b'{"algorithm": "ec-p256\xff"}', id="no UTF-8"),
        pytest.param('{"algorithm": "ec-p256"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"owner": "\\ud800"}', id="half a character"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'[{"algorithm": "ec-p256"}]', id="array of one"),
        pytest.param(b'"ec-p256"', id="string"),
        pytest.param(b"7", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 5000, id="too deep"),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed_and_told_what_it_should_be(body):
    refusal = _refusal(GenerateKey, body)

    assert refusal.code is RejectionCode.MALFORMED
    assert "one JSON object" in refusal.message
    assert "GenerateKey" in refusal.message
    assert refusal.details == {"fields": list(GenerateKey.model_fields)}


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (GenerateKey, {}, ["algorithm", "required"]),
        (GenerateKey, {"algorithm": "ec-p256", "size": 1}, ["size", "unknown field", "the fields are", "exportable"]),
        (GenerateKey, {"algorithm": 256}, ["algorithm", "rsa-2048", "ed25519"]),
        (GenerateKey, {"algorithm": "dsa"}, ["algorithm", "rsa-2048", "ed25519"]),
        (GenerateKey, {"algorithm": "ec-p256", "exportable": "yes"}, ["exportable", "boolean"]),
        (GenerateKey, {"algorithm": "ec-p256", "exportable": 1}, ["exportable", "boolean"]),
        (GenerateKey, {"algorithm": "ec-p256", "key_id": "mine"}, ["key_id", "must be a UUID in lower case"]),
        (GenerateKey, {"algorithm": "ec-p256", "key_id": ""}, ["key_id", "must be a UUID in lower case"]),
        (GenerateKey, {"algorithm": "ec-p256", "key_id": None}, ["key_id", "string"]),
        (GenerateKey, {"algorithm": "ec-p256", "label": "two\nlines"}, ["label", "pattern"]),
        (GenerateKey, {"algorithm": "ec-p256", "label": "x" * 257}, ["label", "256"]),
        (ExportKey, {"key_id": KEY_ID, "recipient_public_key": "%%%"}, ["recipient_public_key", "base64"]),
        (ExportKey, {"key_id": KEY_ID, "recipient_public_key": "Zg"}, ["recipient_public_key", "base64"]),
        (ExportKey, {"key_id": KEY_ID, "recipient_public_key": "Zg\n=="}, ["recipient_public_key", "base64"]),
        (ExportKey, {"key_id": KEY_ID, "recipient_public_key": "Zg=="}, ["recipient_public_key", "32"]),
        (ExportKey, {"key_id": KEY_ID, "recipient_public_key": 7}, ["recipient_public_key", "bytes"]),
        (SignCertificate, {"certificate_id": KEY_ID, "signature": ""}, ["signature", "at least 1"]),
        (CreateCertificate, {"profile": "root", "subject": "CN=Root", "validity_days": 1}, ["subject", "object"]),
        (
            CreateCertificate,
            {"profile": "root", "subject": [], "validity_days": 1, "csr_pem": "-----BEGIN "},
            ["subject"],
        ),
        (CreateCertificate, {"profile": "root", "subject": {"common_name": "R"}, "validity_days": 1}, ["exactly one"]),
        (
            CreateCertificate,
            {"profile": "root", "subject": {"common_name": "R", "cn": 1}, "validity_days": 1, "csr_pem": "-----BEGIN "},
            ["subject.cn"],
        ),
        (ClearSlot, {"serial": "42000001", "slot": "9b"}, ["slot", "9a", "95"]),
        (ClearSlot, {"serial": "-1", "slot": "9a"}, ["serial", "pattern"]),
        (ClearSlot, {"serial": True, "slot": "9a"}, ["serial", "string"]),
        (ClearSlot, {"serial": 10**100, "slot": "9a"}, ["serial", "pattern"]),
    ],
)
def test_a_wrong_field_is_invalid_and_named_with_what_would_be_right(kind, body, words):
    refusal = _refusal(kind, body)

    assert refusal.code is RejectionCode.INVALID, refusal.message
    assert kind.__name__ in refusal.message
    for word in words:
        assert word in refusal.message


def test_every_wrong_field_is_told_at_once():
    refusal = _refusal(GenerateKey, {"algorithm": 1, "purpose": 2, "exportable": 3, "size": 4})

    assert [problem["field"] for problem in refusal.details["problems"]] == [
        "algorithm",
        "purpose",
        "exportable",
        "size",
    ]


def test_a_thousand_wrong_fields_are_not_all_told():
    refusal = _refusal(GenerateKey, {"x" * 500 + str(number): 1 for number in range(200)})

    assert len(refusal.details["problems"]) == 10
    assert len(refusal.message) < 5000


def test_a_body_that_is_too_large_is_refused_with_its_size_and_the_limit():
    body = json.dumps({"algorithm": "ec-p256", "label": "x" * GenerateKey.max_body_bytes}).encode()

    refusal = _refusal(GenerateKey, body)

    assert refusal.code is RejectionCode.INVALID
    assert str(len(body)) in refusal.message
    assert str(GenerateKey.max_body_bytes) in refusal.message


def test_a_body_of_the_largest_size_is_read():
    body = b'{"algorithm": "ec-p256"}'

    assert (
        _read(GenerateKey, body + b" " * (GenerateKey.max_body_bytes - len(body))).body.algorithm is Algorithm.EC_P256
    )


@pytest.mark.parametrize("verb", ["nonsense", "generate.twice", "GENERATE", "*", "a" * 500])
def test_an_unknown_verb_is_answered_with_the_known_ones(verb):
    received = decode_command(_message(f"keys.commands.key.{verb}", b"{}"), "key", COMMANDS)

    assert received.body.code is RejectionCode.UNKNOWN_COMMAND
    assert received.body.details == {"known": catalog().commands_of("key")}
    assert "keys.commands.key.generate" in received.body.message
    assert len(received.body.message) < 1000


def test_a_command_of_another_service_is_unknown_to_this_one():
    language = {"GenerateKey": GenerateKey}

    received = decode_command(_message("keys.commands.certificate.sign", b"{}"), "key", language)

    assert received.body.code is RejectionCode.UNKNOWN_COMMAND
    assert received.aggregate_id is None


@pytest.mark.parametrize("name", ["CIM-Command-Id", "CIM-Correlation-Id", "CIM-Causation-Id", "CIM-Actor"])
def test_a_malformed_header_is_refused_by_name_in_a_conversation_of_its_own(name):
    received = _read(GenerateKey, {"algorithm": "ec-p256"}, {name: "bell\x07"})

    assert received.body.code is RejectionCode.MALFORMED
    assert name in received.body.message
    assert received.lineage == Lineage.root(received.lineage.message_id)


def test_a_command_needs_no_header_and_no_id():
    received = _read(GenerateKey, {"algorithm": "ec-p256"})
    stored = id_from_stream_position("KEYS_COMMANDS", 5, received.at)

    assert received.lineage == Lineage.root(stored)
    assert received.aggregate_id == received.body.key_id == str(derive_id(stored, "key_id"))
    assert received.context().aggregate_id == received.aggregate_id


def test_a_command_told_again_elsewhere_in_the_stream_is_about_the_same_aggregate():
    ids = {_read(GenerateKey, {"algorithm": a}, {"CIM-Command-Id": str(COMMAND_ID)}).aggregate_id for a in Algorithm}

    assert ids == {str(derive_id(COMMAND_ID, "key_id"))}


def test_an_id_of_the_clients_choice_is_kept():
    assert _read(GenerateKey, {"algorithm": "ec-p256", "key_id": KEY_ID}).aggregate_id == KEY_ID


def test_a_serial_number_may_be_given_as_a_number_and_a_slot_in_capitals():
    body = _read(ClearSlot, {"serial": 42000001, "slot": "9A"}).body

    assert (body.serial, body.slot) == ("42000001", "9a")


# --- nothing of what was sent is told back ---------------------------------------

SECRETS = st.text(alphabet="QWXYZqwxyz", min_size=12, max_size=40)
WRAPPINGS = st.sampled_from(
    [
        lambda secret: secret,
        lambda secret: [secret],
        lambda secret: {"common_name": secret, "value": [secret]},
        lambda secret: [{"kind": secret, "value": secret}],
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: f"-----BEGIN {secret}",
        lambda secret: f"\n{secret}\x00",
    ]
)
FIELDS = st.sampled_from([(kind, field) for kind in COMMANDS.values() for field in [*kind.model_fields, "unknown"]])


@given(FIELDS, SECRETS, WRAPPINGS)
def test_what_was_sent_in_any_field_is_never_told_back(which, secret, wrap):
    kind, field = which
    received = _read(kind, {field: wrap(secret)})

    if isinstance(received.body, Rejection):
        told = json.dumps(asdict(received.body))
        assert secret not in told
        assert base64.b64encode(secret.encode()).decode() not in told


@given(SECRETS, st.sampled_from(['{"algorithm": "%s"', '"%s"', "%s", '["%s"]', '{"algorithm": "%s\\ud800"}']))
def test_what_was_sent_in_no_json_object_is_never_told_back(secret, text):
    assert secret not in json.dumps(asdict(_refusal(GenerateKey, (text % secret).encode())))


@given(FIELDS, SECRETS)
def test_an_event_that_cannot_be_read_is_not_told_back_either(which, secret):
    headers = {"CIM-Event-Type": "KeyGenerated"}
    message = _message(f"keys.events.key.generated.{KEY_ID}", json.dumps({which[1]: secret}).encode(), headers)

    with pytest.raises(Poison) as poison:
        decode_event(message, {"KeyGenerated": KeyGenerated})

    assert secret not in str(poison.value)


@given(SECRETS)
def test_what_a_message_was_made_of_is_not_in_the_error_of_making_it(secret):
    with pytest.raises(ValidationError) as error:
        DistinguishedName(common_name=secret + "\n", country=secret)

    assert secret not in str(error.value)


# --- round trips -----------------------------------------------------------------

REVOKED = KeyRevoked(key_id=KEY_ID, reason="superseded")


def test_an_event_reads_back_as_it_was_sealed():
    lineage = Lineage.root(COMMAND_ID, "alice").cause("KeyRevoked")
    sealed = encode_event(REVOKED, lineage, "key")

    read = decode_event(_message(sealed.subject, sealed.payload, sealed.headers), {"KeyRevoked": KeyRevoked})

    assert read == (lineage, REVOKED)
    assert sealed.subject == f"keys.events.key.revoked.{KEY_ID}"
    assert sealed.headers["CIM-Aggregate-Id"] == KEY_ID
    assert sealed.headers["CIM-Aggregate-Type"] == "key"
    assert sealed.headers["CIM-Event-Type"] == "KeyRevoked"


def test_an_event_of_no_known_type_is_poison():
    sealed = encode_event(REVOKED, Lineage.root(COMMAND_ID), "key")

    with pytest.raises(Poison, match="KeyRevoked"):
        decode_event(_message(sealed.subject, sealed.payload, sealed.headers), {"KeyGenerated": KeyGenerated})
    with pytest.raises(Poison, match="unknown"):
        decode_event(_message(sealed.subject, sealed.payload, None), {"KeyRevoked": KeyRevoked})


@pytest.mark.parametrize(
    "command",
    [
        GenerateKey(key_id=KEY_ID, algorithm=Algorithm.EC_P256),
        GenerateKey(algorithm=Algorithm.ED25519, label="no id of its own"),
        CreateCertificate(
            profile=Profile.ROOT,
            subject=DistinguishedName(common_name="Root"),
            csr_pem="-----BEGIN CERTIFICATE REQUEST-----",
            validity_days=1,
        ),
        ClearSlot(serial="42000001", slot=Slot.AUTHENTICATION),
        GenerateSlotKey(serial="42000001", slot=Slot.RETIRED_1, algorithm=Algorithm.EC_P256),
    ],
    ids=lambda command: f"{type(command).__name__} {command.identity or 'without id'}",
)
def test_a_command_reads_back_as_it_was_sealed(command):
    lineage = Lineage.root(COMMAND_ID, "alice")
    sealed = encode_command(command, lineage, "console")

    received = decode_command(_message(sealed.subject, sealed.payload, sealed.headers), "any", COMMANDS)

    expected = command.identity or str(derive_id(COMMAND_ID, command.identified_by))
    assert received.lineage == lineage
    assert received.body == command.model_copy(update={command.identified_by: expected})


@given(st.binary(min_size=1, max_size=200))
def test_bytes_travel_as_padded_base64(message):
    command = SignWithKey(
        key_id=KEY_ID, message=message, signature_algorithm=SignatureAlgorithm.ED25519, purpose=Purpose.AUTHENTICATION
    )

    body = json.loads(command.model_dump_json())

    assert body["message"] == base64.b64encode(message).decode()
    assert SignWithKey.model_validate_json(json.dumps(body)) == command


def test_every_command_is_published_where_the_catalog_says():
    for name, kind in COMMANDS.items():
        subject = subject_of(kind.model_construct(**dict.fromkeys(kind.model_fields, DERIVED)))
        assert catalog().commands[str(subject)] == name
