"""A local suite: its directory, processes, environments and secrets, which the first start generates."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.atomic_files import PUBLIC, write_atomically
from deploy.nats_creds import CONFIGURATION, creds_file
from deploy.nats_users import seed_file, write_users
from shared.nats.connection import Access
from shared.process.settings import NatsSettings

SERVICES = ("key", "certificate", "yubikey", "saga", "repository")
CONSUMERS = ("key", "certificate", "yubikey", "saga", "saga-events", "saga-timers", "views")
NATS_PORT, HTTP_PORT = 4222, 8080
LAST_PORT = 65_535
CHOICES = ("CERTIFICATE_POLICY_FILE", "ENABLE_ML_DSA")
"""Settings of the services that `make up` passes on."""


def is_for_all(name: str) -> bool:
    """Returns true for settings of every service: log format and telemetry."""
    return name == "LOG_FORMAT" or name.startswith("OTEL_")


def http_port_beside(nats_port: int) -> int:
    """Returns the default HTTP port for a NATS port: as far from it as 8080 is from 4222.

    Suites with different NATS ports therefore do not conflict. The URLs in certificates stay valid after a restart.
    """
    port = nats_port + HTTP_PORT - NATS_PORT
    return port if port <= LAST_PORT else nats_port - (HTTP_PORT - NATS_PORT)


@dataclass(frozen=True, slots=True)
class LocalSuite:
    """A nats-server and the five services on this machine; one directory holds all their state."""

    state: Path
    port: int = NATS_PORT
    http_port: int = HTTP_PORT
    virtual_yubikeys: str = "42000001"
    choices: Mapping[str, str] = field(default_factory=dict)
    """Further settings to pass on: those of CHOICES and those that `is_for_all`."""
    secured: bool = False
    """The server admits only the roles of the catalog, each with its permissions (docs/security.md)."""
    operated: Path | None = None
    """Directory written by `deploy.nats_creds`: the server runs in operator mode; excludes *secured*."""
    servers: str | None = None
    """URLs of running servers, separated by commas; None: the suite starts its own."""
    replicas: int | None = None
    """Replicas of each stream and bucket in the cluster."""
    tls: Path | None = None
    """Directory written by `deploy.nats_tls`: server and services use mutual TLS."""

    @property
    def url(self) -> str:
        return self.servers or f"nats://127.0.0.1:{self.port}"

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def users(self) -> Path:
        return self.state / "secrets" / "nats"

    @property
    def is_limited(self) -> bool:
        """True if services lack the permission to create streams."""
        return self.secured or self.operated is not None

    def access_settings(self, role: str) -> dict[str, str]:
        """Returns the environment variables with which *role* authenticates."""
        settings = {"NATS_NKEY": str(seed_file(self.users, role))} if self.secured else {}
        if self.operated is not None:
            settings = {"NATS_CREDS": str(creds_file(self.operated, role))}
        if self.tls is not None:
            files = {"NATS_CA": "ca.pem", "NATS_CERT": f"{role}.pem", "NATS_KEY": f"{role}.key"}
            settings |= {setting: str(self.tls / name) for setting, name in files.items()}
        return settings

    def access(self, role: str) -> Access:
        return NatsSettings.read(self.access_settings(role)).access

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def prepare(self) -> None:
        """Creates missing directories and secrets, readable by their owner only."""
        for directory in ("nats", "logs", "secrets", "yubikey"):
            (self.state / directory).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("key.passphrase", "yubikey.secret"):
            path = self.state / "secrets" / name
            if not path.exists():
                write_atomically(path, secrets.token_urlsafe(48))
        if self.secured:
            write_users(self.users)
        write_atomically(self._config_file, self._server_config(), PUBLIC)

    def command(self, name: str) -> list[str]:
        if name != "nats":
            return [sys.executable, "-m", f"services.{name}"]
        # the wheel's server: those of system packages may be too old
        server = Path(sys.executable).with_name("nats-server")
        return [
            str(server),
            "-js",
            "-sd",
            str(self.state / "nats"),
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            *(["-c", str(self._config_file)] if self._server_config() else []),
        ]

    @property
    def _config_file(self) -> Path:
        return self.state / "server.conf"

    def _server_config(self) -> str:
        """Returns a configuration that the server can reload; it cannot reload TLS from its command line."""
        users = self.operated / CONFIGURATION if self.operated is not None else self.users / "users.conf"
        parts = [f"include {json.dumps(os.path.relpath(users, self.state))}"] if self.is_limited else []
        if self.tls is not None:
            files = {"cert_file": "server.pem", "key_file": "server.key", "ca_file": "ca.pem"}
            paths = {setting: str(self.tls / name) for setting, name in files.items()}
            parts.append(f"tls: {json.dumps({**paths, 'verify': True})}")
        return "".join(f"{part}\n" for part in parts)

    def environment(self, name: str) -> dict[str, str]:
        """Returns the environment of a process: its own settings, and none of its siblings'."""
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH") if key in os.environ}

        def chosen(*names: str) -> dict[str, str]:
            return {name: self.choices[name] for name in names if self.choices.get(name)}

        own = {
            "certificate": {"PUBLIC_URL": self.public_url, **chosen("CERTIFICATE_POLICY_FILE", "ENABLE_ML_DSA")},
            "repository": {"HTTP_PORT": str(self.http_port)},
            "key": {"KEY_PASSPHRASE_FILE": str(self.state / "secrets" / "key.passphrase"), **chosen("ENABLE_ML_DSA")},
            "yubikey": {
                "STATE_DIR": str(self.state / "yubikey"),
                "YUBIKEY_SECRET_FILE": str(self.state / "secrets" / "yubikey.secret"),
                "VIRTUAL_YUBIKEYS": self.virtual_yubikeys,
            },
        }
        common = {} if name == "nats" else {each: value for each, value in self.choices.items() if is_for_all(each)}
        access = self.access_settings(name) if name in SERVICES else {}
        return {**inherited, **common, "NATS_URL": self.url, **access, **own.get(name, {})}
