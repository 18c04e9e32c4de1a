"""Settings of a process: read from the given environment only, all problems at once, no secret shown."""

import os

import pytest

from deploy.settings_page import PROCESSES, settings_of
from services.key.settings import KeySettings
from shared.process.settings import InvalidSettings, NatsSettings, ServiceSettings, read_or_exit, variables_of

KEK = bytes(range(32)).hex()


def problems(kind, **environment):
    with pytest.raises(InvalidSettings) as caught:
        kind.read(environment)
    return str(caught.value).splitlines()


def test_every_problem_is_named_with_what_was_given_and_what_is_allowed():
    assert problems(
        ServiceSettings, HEALTH_PORT="http", LOG_FORMAT="xml", OTEL_SDK_DISABLED="perhaps", NATS_USER="ada"
    ) == [
        "NATS_USER and NATS_PASSWORD_FILE need each other: set both or neither",
        "HEALTH_PORT must be a port number, not 'http'",
        "LOG_FORMAT must be text or json, not 'xml'",
        "OTEL_SDK_DISABLED must be true or false (or 1 or 0), not 'perhaps'",
    ]


def test_the_value_of_a_secret_is_in_no_message():
    said = problems(KeySettings, KEY_KEK="0f" * 31, ENABLE_ML_DSA="2")

    assert said[0].startswith("KEY_KEK must be exactly 32 octets, as 64 hexadecimal digits or in base64")
    assert "0f" not in "".join(said)
    assert said[1] == "ENABLE_ML_DSA must be true or false (or 1 or 0), not '2'"


def test_secrets_are_taken_out_of_the_environment_also_when_it_is_refused():
    environment = {"KEY_KEK": KEK, "HEALTH_PORT": "http"}
    with pytest.raises(InvalidSettings):
        KeySettings.read(environment)

    assert environment == {"HEALTH_PORT": "http"}


def test_settings_that_are_constructed_read_no_environment(monkeypatch):
    monkeypatch.setenv("NATS_URL", "nats://elsewhere")

    assert ServiceSettings() == ServiceSettings.read({})
    assert NatsSettings().url == "nats://127.0.0.1:4222"


def test_an_empty_variable_is_one_that_is_not_set():
    empty = {variable.name: "" for variable in variables_of(ServiceSettings)}

    assert ServiceSettings.read(empty) == ServiceSettings.read({})


@pytest.mark.parametrize("ways", [("CREDS", "NKEY"), ("NKEY", "USER"), ("CREDS", "USER"), ("CREDS", "NKEY", "USER")])
def test_a_process_connects_as_one_user(ways, tmp_path):
    (tmp_path / "file").write_text("a secret")
    environment = dict.fromkeys((f"NATS_{way}" for way in ways), str(tmp_path / "file"))
    environment |= {"NATS_PASSWORD_FILE": str(tmp_path / "file")} if "USER" in ways else {}

    assert problems(NatsSettings, **environment) == [
        "NATS_CREDS, NATS_NKEY and NATS_USER are alternatives: set only one of them"
    ]


def test_a_password_is_read_without_the_space_around_it(tmp_path):
    (tmp_path / "password").write_text("hidden\n")
    access = NatsSettings.read({"NATS_USER": "ada", "NATS_PASSWORD_FILE": str(tmp_path / "password")}).access

    assert (access.user, access.password) == ("ada", "hidden")
    assert "hidden" not in repr(access)


def test_files_that_make_no_tls_client_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no PEM")
    (said,) = problems(NatsSettings, NATS_CA=str(tmp_path / "ca.pem"))

    assert said.startswith("NATS_CA, NATS_CERT and NATS_KEY must be PEM files that fit each other")
    assert problems(NatsSettings, NATS_CERT=str(tmp_path / "ca.pem")) == [
        "NATS_CERT and NATS_KEY need each other: set both or neither",
        "NATS_CERT needs NATS_CA, the CA certificates of the server",
    ]


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_says_what_it_accepts_and_what_it_means(process):
    for variable in variables_of(settings_of(process)):
        assert variable.name.isupper()
        assert variable.accepts.values
        assert variable.field.description
        if variable.accepts.secret or variable.field.annotation is bytes:
            assert not variable.field.repr


def test_a_command_with_wrong_settings_says_so_and_exits_with_78(capsys):
    with pytest.raises(SystemExit) as ended:
        read_or_exit(NatsSettings, {"NATS_USER": "ada"})

    assert ended.value.code == os.EX_CONFIG == 78
    assert capsys.readouterr().err == "NATS_USER and NATS_PASSWORD_FILE need each other: set both or neither\n"
