"""The YubiKey service as a process: the only place that reads the environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from services.yubikey.service import LEASE, PATIENCE, SHORTEST_LEASE, Settings, yubikey_service
from shared.errors import Unusable
from shared.nats.connection import Access
from shared.process.host import Service, run
from shared.process.settings import is_open_to_others

_SHORTEST_SECRET = 32
_LONGEST_WAIT = 3600.0
_LONGEST_NAME = 64
_MANAGEMENT_KEY_SIZES = (16, 24, 32)


def settings() -> Settings:
    """Raises Unusable, naming the variable and what is wrong with it."""
    roots = os.environ.get("YUBIKEY_ROOTS")
    roles_file = os.environ.get("YUBIKEY_ROLES_FILE")
    return Settings(
        nats_url=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        state_directory=Path(os.environ.get("STATE_DIR", "./.state/yubikey")),
        secret=_secret("YUBIKEY_SECRET_FILE"),
        previous_secret=_previous_secret(),
        virtual_serials=_serials(os.environ.get("VIRTUAL_YUBIKEYS", "")),
        pcsc=os.environ.get("YUBIKEY_PCSC") == "1",
        roots=Path(roots) if roots else None,
        management_key=_management_key(),
        roles_file=Path(roles_file) if roles_file else None,
        agent=_agent(),
        lease=_seconds("YUBIKEY_LEASE", LEASE, SHORTEST_LEASE),
        patience=_seconds("YUBIKEY_PATIENCE", PATIENCE, 0),
        access=Access.from_environment(os.environ),
    )


def _secret(variable: str) -> bytes:
    secret = _private_file(variable)
    if len(secret) < _SHORTEST_SECRET:
        raise Unusable(f"{variable}: the file has {len(secret)} bytes; it needs {_SHORTEST_SECRET} random ones or more")
    return secret


def _previous_secret() -> bytes | None:
    variable = "YUBIKEY_PREVIOUS_SECRET_FILE"
    return _secret(variable) if os.environ.get(variable) else None


def _management_key() -> bytes:
    variable = "YUBIKEY_MANAGEMENT_KEY_FILE"
    if not os.environ.get(variable):
        return DEFAULT_MANAGEMENT_KEY
    try:
        key = bytes.fromhex(_private_file(variable).decode())
    except ValueError:
        key = b""
    if len(key) not in _MANAGEMENT_KEY_SIZES:
        raise Unusable(f"{variable}: the file must hold 16, 24 or 32 bytes in hexadecimal")
    return key


def _agent() -> str:
    name = os.environ.get("YUBIKEY_AGENT") or socket.gethostname()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise Unusable(f"YUBIKEY_AGENT must be a printable name of at most {_LONGEST_NAME} characters")
    return name


def _seconds(variable: str, default: float, least: float) -> float:
    try:
        seconds = float(os.environ.get(variable) or default)
    except ValueError:
        seconds = -1
    if not least <= seconds < _LONGEST_WAIT:
        raise Unusable(f"{variable} must be a number of seconds, {least:g} or more and below {_LONGEST_WAIT:g}")
    return seconds


def _private_file(variable: str) -> bytes:
    path = os.environ.get(variable)
    if not path:
        raise Unusable(f"{variable} must name a file with at least {_SHORTEST_SECRET} random bytes")
    try:
        with Path(path).open("rb") as file:
            if is_open_to_others(os.fstat(file.fileno())):
                raise Unusable(f"{variable}: {path} is open to others than its owner; chmod 600 it")
            return file.read()
    except OSError as error:
        raise Unusable(f"{variable}: {path} cannot be read ({error.strerror})") from error


def _serials(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(serial) for serial in text.split(",") if serial.strip())
    except ValueError as error:
        raise Unusable("VIRTUAL_YUBIKEYS must be serial numbers with commas between") from error


def build() -> Service:
    return yubikey_service(settings())


def main() -> None:
    run("yubikey", build, os.environ)


if __name__ == "__main__":
    main()
