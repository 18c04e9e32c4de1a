"""Where a local suite lives and what it is made of; the secrets it needs are made at the first start."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

SERVICES = ("key", "certificate", "yubikey", "saga")
CONSUMERS = ("key", "certificate", "yubikey", "saga", "saga-events", "saga-timers")


@dataclass(frozen=True, slots=True)
class LocalSuite:
    """A nats-server and the four services on this machine, all that they keep under one directory."""

    state: Path
    port: int = 4222
    virtual_yubikeys: str = "42000001"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

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

    def command(self, name: str) -> list[str]:
        if name != "nats":
            return [sys.executable, "-m", f"services.{name}"]
        # the wheel's server: what a system package installs may be far too old (facts.md)
        server = Path(sys.executable).with_name("nats-server")
        return [str(server), "-js", "-sd", str(self.state / "nats"), "-a", "127.0.0.1", "-p", str(self.port)]

    def environment(self, name: str) -> dict[str, str]:
        """What a process is given of the environment: its own settings, and nothing of its siblings'."""
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH") if key in os.environ}
        own = {
            "key": {
                "KEY_PASSPHRASE_FILE": str(self.state / "secrets" / "key.passphrase"),
                "ENABLE_ML_DSA": os.environ.get("ENABLE_ML_DSA", ""),
            },
            "yubikey": {
                "STATE_DIR": str(self.state / "yubikey"),
                "YUBIKEY_SECRET_FILE": str(self.state / "secrets" / "yubikey.secret"),
                "VIRTUAL_YUBIKEYS": self.virtual_yubikeys,
            },
        }
        return {**inherited, "NATS_URL": self.url, **own.get(name, {})}
