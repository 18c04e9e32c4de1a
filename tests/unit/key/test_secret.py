"""The secret of the key-encryption key: its sources; no message contains it."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.key.secrets.source import KeyFile, Passphrase
from services.key.settings import KeySettings
from shared.errors import Unusable

KEY = bytes(range(32))
PASSPHRASE = "correct horse battery staple"
NATS = "nats://127.0.0.1:4222"


def read(**variables):
    return KeySettings.read(variables).secret


def test_the_environment_says_where_the_server_and_the_secret_are(tmp_path):
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "kek").write_bytes(KEY)
    (tmp_path / "kek").chmod(0o600)

    settings = KeySettings.read({"KEY_KEK_FILE": str(tmp_path / "kek")})
    assert (settings.nats.url, settings.secret) == (NATS, KeyFile(KEY))
    settings = KeySettings.read({"NATS_URL": "nats://n", "KEY_PASSPHRASE_FILE": str(tmp_path / "passphrase")})
    assert (settings.nats.url, settings.secret) == ("nats://n", Passphrase(PASSPHRASE))


def test_the_environment_may_hold_the_secret_itself():
    assert read(KEY_PASSPHRASE=PASSPHRASE) == Passphrase(PASSPHRASE)
    assert read(KEY_KEK=KEY.hex()) == read(KEY_KEK=b64encode(KEY).decode()) == KeyFile(KEY)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_octets_are_read_from_either_notation(key):
    assert read(KEY_KEK=key.hex().upper()) == read(KEY_KEK=b64encode(key).decode() + "\n") == KeyFile(key)


@pytest.mark.parametrize("text", ["0" * 63, "0" * 66, "g" * 64, b64encode(bytes(31)).decode(), "é" * 32, "=" * 44])
def test_what_is_not_32_octets_is_refused_without_being_repeated(text):
    with pytest.raises(Unusable, match="KEY_KEK must be exactly 32 octets") as caught:
        read(KEY_KEK=text)

    assert text not in str(caught.value)


def test_a_short_passphrase_is_refused_without_being_repeated():
    with pytest.raises(Unusable, match="KEY_PASSPHRASE must be a passphrase of 12 or more characters") as caught:
        read(KEY_PASSPHRASE="elevenchars")

    assert "elevenchars" not in str(caught.value)


def test_a_passphrase_in_the_environment_is_the_one_that_its_file_would_hold(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\r\nsomething else\n")

    assert read(KEY_PASSPHRASE=path.read_text()) == read(KEY_PASSPHRASE_FILE=str(path)) == Passphrase(PASSPHRASE)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"KEY_KEK": ""},
        {"KEY_KEK_FILE": "kek", "KEY_PASSPHRASE_FILE": "passphrase"},
        {"KEY_KEK": KEY.hex(), "KEY_PASSPHRASE": PASSPHRASE},
        {"KEY_KEK_FILE": "kek", "KEY_KEK": KEY.hex()},
    ],
    ids=["none", "an empty one", "two files", "two values", "a file and a value"],
)
def test_not_exactly_one_secret_is_refused(variables, tmp_path, monkeypatch):
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "kek").write_bytes(KEY)
    (tmp_path / "kek").chmod(0o600)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Unusable, match="set exactly one of KEY_PASSPHRASE_FILE and KEY_KEK_FILE") as caught:
        read(**variables)

    assert PASSPHRASE not in str(caught.value)


def test_two_previous_secrets_are_one_too_many():
    variables = {"KEY_KEK": KEY.hex(), "KEY_PREVIOUS_KEK": KEY.hex(), "KEY_PREVIOUS_PASSPHRASE": PASSPHRASE}

    with pytest.raises(Unusable, match="set exactly one of KEY_PREVIOUS_PASSPHRASE_FILE"):
        KeySettings.read(variables)


def test_a_previous_secret_comes_from_the_same_four_places(tmp_path):
    path = tmp_path / "kek"
    path.write_bytes(KEY)
    path.chmod(0o600)

    for name, value, secret in (
        ("PASSPHRASE", PASSPHRASE, Passphrase(PASSPHRASE)),
        ("KEK", KEY.hex(), KeyFile(KEY)),
        ("KEK_FILE", str(path), KeyFile(KEY)),
    ):
        assert KeySettings.read({"KEY_KEK": bytes(32).hex(), f"KEY_PREVIOUS_{name}": value}).previous_secret == secret


def test_without_a_previous_secret_there_is_none():
    assert KeySettings.read({"KEY_KEK": KEY.hex(), "KEY_PREVIOUS_KEK": ""}).previous_secret is None


def test_after_reading_the_environment_holds_no_secret():
    environment = {"NATS_URL": NATS, "KEY_PASSPHRASE": PASSPHRASE, "KEY_PREVIOUS_KEK": KEY.hex(), "HOME": "/"}

    KeySettings.read(environment)

    assert environment == {"NATS_URL": NATS, "HOME": "/"}


def test_settings_do_not_show_their_secrets():
    shown = repr(KeySettings.read({"KEY_PASSPHRASE": PASSPHRASE, "KEY_PREVIOUS_KEK": KEY.hex()}))

    assert PASSPHRASE not in shown
    assert KEY.hex() not in shown
