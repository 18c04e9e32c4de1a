"""Settings of the YubiKey service."""

import os
import socket

import pytest
from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from services.yubikey.settings import YubikeySettings
from shared.errors import Unusable

SERIAL, OTHER = 42000001, 42000002


def settings():
    return YubikeySettings.read(os.environ)


class TestSettings:
    @pytest.fixture(name="secret_file")
    def _secret_file(self, tmp_path, monkeypatch):
        path = tmp_path / "secret"
        path.write_bytes(os.urandom(32))
        path.chmod(0o600)
        monkeypatch.setenv("YUBIKEY_SECRET_FILE", str(path))
        return path

    def test_a_secret_is_enough(self, secret_file):
        given = settings()

        assert given.secret == secret_file.read_bytes()
        assert given.management_key == DEFAULT_MANAGEMENT_KEY
        assert "secret" not in repr(given)
        assert "management" not in repr(given)

    @pytest.mark.usefixtures("secret_file")
    def test_serials_are_read(self, monkeypatch):
        monkeypatch.setenv("VIRTUAL_YUBIKEYS", "42000001, 42000002")
        assert settings().virtual_serials == (SERIAL, OTHER)
        monkeypatch.setenv("VIRTUAL_YUBIKEYS", "")
        assert settings().virtual_serials == ()
        monkeypatch.setenv("VIRTUAL_YUBIKEYS", "mine")
        with pytest.raises(Unusable, match="VIRTUAL_YUBIKEYS"):
            settings()

    @pytest.mark.usefixtures("secret_file")
    def test_an_agent_is_called_like_its_machine_unless_it_is_told(self, monkeypatch):
        assert settings().agent == socket.gethostname()
        monkeypatch.setenv("YUBIKEY_AGENT", "desk-7")
        assert settings().agent == "desk-7"
        for wrong in ("x" * 65, "desk\n7"):
            monkeypatch.setenv("YUBIKEY_AGENT", wrong)
            with pytest.raises(Unusable, match="YUBIKEY_AGENT"):
                settings()

    @pytest.mark.usefixtures("secret_file")
    def test_times_are_seconds_and_a_lease_is_not_too_short_to_be_renewed(self, monkeypatch):
        assert (settings().lease_s, settings().patience_s) == (15, 180)
        monkeypatch.setenv("YUBIKEY_LEASE", "30")
        monkeypatch.setenv("YUBIKEY_PATIENCE", "0")
        assert (settings().lease_s, settings().patience_s) == (30, 0)
        for wrong in ("1", "soon", "nan", "99999"):
            monkeypatch.setenv("YUBIKEY_LEASE", wrong)
            with pytest.raises(Unusable, match="YUBIKEY_LEASE must be a number of seconds, 3 or more"):
                settings()

    def test_a_secret_that_is_missing_short_or_open_to_others_is_unusable(self, secret_file, monkeypatch):
        secret_file.chmod(0o640)
        with pytest.raises(Unusable, match="chmod 600"):
            settings()
        secret_file.chmod(0o600)
        secret_file.write_bytes(b"short")
        with pytest.raises(Unusable, match="5 bytes"):
            settings()
        secret_file.unlink()
        with pytest.raises(Unusable, match="cannot be read"):
            settings()
        monkeypatch.delenv("YUBIKEY_SECRET_FILE")
        with pytest.raises(Unusable, match="YUBIKEY_SECRET_FILE"):
            settings()

    @pytest.mark.usefixtures("secret_file")
    def test_the_secret_before_may_be_given_and_is_held_to_the_same(self, tmp_path, monkeypatch):
        assert settings().previous_secret is None
        before = tmp_path / "before"
        before.write_bytes(bytes(32))
        before.chmod(0o600)
        monkeypatch.setenv("YUBIKEY_PREVIOUS_SECRET_FILE", str(before))
        assert settings().previous_secret == bytes(32)
        before.write_bytes(b"short")
        with pytest.raises(Unusable, match="YUBIKEY_PREVIOUS_SECRET_FILE"):
            settings()

    @pytest.mark.usefixtures("secret_file")
    def test_a_management_key_is_read_in_hexadecimal(self, tmp_path, monkeypatch):
        file = tmp_path / "management"
        file.write_text(bytes(range(24)).hex() + "\n")
        file.chmod(0o600)
        monkeypatch.setenv("YUBIKEY_MANAGEMENT_KEY_FILE", str(file))
        assert settings().management_key == bytes(range(24))
        file.write_text("not hexadecimal")
        with pytest.raises(Unusable, match="hexadecimal"):
            settings()
