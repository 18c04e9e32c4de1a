"""Flags become the body of a command: by the contract model's own field types, and without validating it."""

import json

import pytest

from services.console.arguments import read_arguments
from services.console.fields import WrongUsage, command_names, fields_of, model_of


def body(command, *arguments):
    return read_arguments(["send", command, *arguments]).body


def refusal(*arguments):
    with pytest.raises(WrongUsage) as refused:
        read_arguments(arguments)
    message = str(refused.value)

    assert "\n" not in message
    return message


def test_a_flag_is_a_field():
    assert body("key.generate", "--algorithm", "ec-p256") == {"algorithm": "ec-p256"}


def test_a_command_may_be_given_as_its_whole_subject():
    assert read_arguments(["send", "keys.commands.key.generate"]).command == "key.generate"


def test_a_dotted_flag_is_a_nested_field():
    authority = {"common_name": "Acme Root", "validity_days": 3650}

    built = body("saga.pki-bootstrap.start", "--root.common_name", "Acme Root", "--root.validity_days", "3650")

    assert built == {"root": authority}


def test_dashes_and_underscores_are_the_same():
    built = body("saga.pki-bootstrap.start", "--root.common-name=A", "--root.validity-days", "1", "--saga-id", "x")

    assert built == {"root": {"common_name": "A", "validity_days": 1}, "saga_id": "x"}


def test_a_string_of_digits_stays_a_string_where_the_contract_says_so():
    built = body("yubikey.attest", "--serial", "42000001", "--slot", "82")

    assert built == {"serial": "42000001", "slot": "82"}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [(["--exportable"], True), (["--exportable", "true"], True), (["--exportable=no"], False)],
)
def test_a_boolean_may_stand_alone(arguments, value):
    assert body("key.generate", *arguments, "--label", "x") == {"exportable": value, "label": "x"}


def test_a_list_is_a_repeated_flag_or_json():
    dns, email = {"kind": "dns", "value": "a.example"}, {"kind": "email", "value": "a@b.example"}

    repeated = body("certificate.create", "--sans", json.dumps(dns), "--sans", json.dumps(email))
    written = body("certificate.create", "--sans", json.dumps([dns, email]))

    assert repeated == written == {"sans": [dns, email]}


def test_an_object_may_be_json_that_a_dotted_flag_changes():
    built = body("certificate.create", "--subject.country", "CH", "--subject", '{"common_name": "A", "country": "DE"}')

    assert built == {"subject": {"common_name": "A", "country": "CH"}}


def test_a_pem_is_a_value_although_it_begins_with_dashes():
    pem = "-----BEGIN CERTIFICATE-----\nAAA=\n-----END CERTIFICATE-----\n"

    assert body("yubikey.import-certificate", "--certificate_pem", pem) == {"certificate_pem": pem}


def test_flags_override_the_json_they_are_given_with():
    given = '{"organization": "Acme", "root": {"common_name": "Old", "validity_days": 1}}'

    built = body("saga.pki-bootstrap.start", "--json", given, "--root.common_name", "New")

    assert built == {"organization": "Acme", "root": {"common_name": "New", "validity_days": 1}}


def test_a_file_is_read_as_json_is(tmp_path):
    path = tmp_path / "body.json"
    path.write_text('{"algorithm": "ed25519", "surprise": 1}')

    assert body("key.generate", "--file", str(path)) == {"algorithm": "ed25519", "surprise": 1}


def test_what_is_missing_or_not_allowed_is_for_the_service_to_say():
    assert body("key.generate") == {}
    assert body("key.generate", "--algorithm", "rot13") == {"algorithm": "rot13"}


def test_an_unknown_command_is_answered_with_those_there_are():
    said = refusal("send", "key.genrate")

    assert "did you mean key.generate?" in said
    assert "saga.pki-bootstrap.start" in said


def test_an_unknown_flag_is_answered_with_the_fields_and_their_types():
    said = refusal("send", "key.generate", "--algoritm", "ec-p256")

    assert "--algoritm" in said
    assert "did you mean --algorithm?" in said
    assert "algorithm* (rsa-2048|" in said
    assert "exportable (boolean)" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["certificate.create", "--validity_days", "long"], "takes an integer, not 'long'"),
        (["key.generate", "--exportable", "perhaps"], "takes true or false"),
        (["key.generate", "--label", "a", "--label", "b"], "takes one value"),
        (["key.generate", "--label"], "expected one argument"),
        (["key.generate", "ec-p256"], "has no flag before it"),
        (["key.generate", "--json", "{"], "--json is not JSON"),
        (["key.generate", "--json", "[]"], "must be a JSON object"),
        (["key.generate", "--file", "/nowhere/body.json"], "No such file"),
        (["key.generate", "--timeout", "0"], "--timeout"),
        (["certificate.create", "--sans", "[1"], "not a JSON list"),
        (["certificate.create", "--subject", "Acme"], "--subject is not JSON"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(arguments, word):
    assert word in refusal("send", *arguments)


@pytest.mark.parametrize("command", command_names())
def test_every_command_tells_its_fields(command, capsys):
    with pytest.raises(SystemExit) as ended:
        read_arguments(["send", command, "--help"])

    event = capsys.readouterr().out
    assert ended.value.code == 0
    for field in fields_of(model_of(command)):
        assert field.kind == "object" or f"--{field.path}" in event


def test_help_marks_what_must_be_given_and_describes_it(capsys):
    with pytest.raises(SystemExit):
        read_arguments(["send", "key.sign", "--help"])

    event = capsys.readouterr().out
    assert "* the bytes to sign, not a digest of them" in event
    assert "--message base64" in event
