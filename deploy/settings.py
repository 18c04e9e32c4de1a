"""Where a local suite lives and what it is made of; the secrets it needs are made at the first start."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.atomic_files import PUBLIC, write_whole
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
    """Whether every service has the setting: how it logs, and where its telemetry goes."""
    return name == "LOG_FORMAT" or name.startswith("OTEL_")


def http_port_beside(nats_port: int) -> int:
    """Where a suite serves HTTP that was told its NATS port only: as far from it as 8080 from 4222.

    So suites that run side by side, each on a NATS port of its own, do not meet; and the URLs that a suite writes into
    certificates stay true when it is started again.
    """
    port = nats_port + HTTP_PORT - NATS_PORT
    return port if port <= LAST_PORT else nats_port - (HTTP_PORT - NATS_PORT)


@dataclass(frozen=True, slots=True)
class LocalSuite:
    """A nats-server and the five services on this machine, all that they keep under one directory."""

    state: Path
    port: int = NATS_PORT
    http_port: int = HTTP_PORT
    virtual_yubikeys: str = "42000001"
    choices: Mapping[str, str] = field(default_factory=dict)
    """What else its owner has chosen, by the names of CHOICES, and what `is_for_all`."""
    secured: bool = False
    """Whether the server lets in only the roles of the catalog, each for what is its own (docs/security.md)."""
    operated: Path | None = None
    """What `deploy.nats_creds` has made: the server is in operator mode, in the place of *secured*."""
    servers: str | None = None
    """Where servers run already, in place of one's own: URLs, with commas between."""
    replicas: int | None = None
    """On how many of these servers each thing is kept."""
    tls: Path | None = None
    """What `deploy.nats_tls` has made: server and services know each other by certificates."""

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
        """Whether services may not create anything."""
        return self.secured or self.operated is not None

    def access_settings(self, role: str) -> dict[str, str]:
        """As whom *role* connects, in the words of its environment."""
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
        """Make the directories and, where they are missing, the secrets: each readable by its owner only."""
        for directory in ("nats", "logs", "secrets", "yubikey"):
            (self.state / directory).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("key.passphrase", "yubikey.secret"):
            path = self.state / "secrets" / name
            if not path.exists():
                draft = path.with_suffix(".draft")
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_urlsafe(48))
                draft.rename(path)
        if self.secured:
            write_users(self.users)
        write_whole(self._configuration, self._configured(), PUBLIC)

    def command(self, name: str) -> list[str]:
        if name != "nats":
            return [sys.executable, "-m", f"services.{name}"]
        # the wheel's server: what a system package installs may be far too old (facts.md)
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
            *(["-c", str(self._configuration)] if self._configured() else []),
        ]

    @property
    def _configuration(self) -> Path:
        return self.state / "server.conf"

    def _configured(self) -> str:
        """What the server reads again when it is told to: TLS by its command line would forbid it that."""
        known = self.operated / CONFIGURATION if self.operated is not None else self.users / "users.conf"
        parts = [f"include {json.dumps(os.path.relpath(known, self.state))}"] if self.is_limited else []
        if self.tls is not None:
            files = {"cert_file": "server.pem", "key_file": "server.key", "ca_file": "ca.pem"}
            told = {setting: str(self.tls / name) for setting, name in files.items()}
            parts.append(f"tls: {json.dumps({**told, 'verify': True})}")
        return "".join(f"{part}\n" for part in parts)

    def environment(self, name: str) -> dict[str, str]:
        """What a process is given of the environment: its own settings, and nothing of its siblings'."""
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
        told = {} if name == "nats" else {each: told for each, told in self.choices.items() if is_for_all(each)}
        access = self.access_settings(name) if name in SERVICES else {}
        return {**inherited, **told, "NATS_URL": self.url, **access, **own.get(name, {})}
