"""Settings of the YubiKey service."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from shared.process.settings import Accepts, ServiceSettings, Switch, read_private_file

MIN_LEASE_S = 3.0
_MAX_WAIT_S = 3600.0
_MIN_SECRET_LENGTH = 32
_MAX_NAME_LENGTH = 64
_MANAGEMENT_KEY_LENGTHS = (16, 24, 32)


def _secret(value: str | bytes) -> bytes:
    secret = value if isinstance(value, bytes) else read_private_file(Path(value))
    if len(secret) < _MIN_SECRET_LENGTH:
        raise ValueError(f"it has {len(secret)} bytes")
    return secret


def _management_key(value: str | bytes) -> bytes:
    key = value if isinstance(value, bytes) else _from_hex(read_private_file(Path(value)))
    if len(key) not in _MANAGEMENT_KEY_LENGTHS:
        raise ValueError(f"it has {len(key)} bytes")
    return key


def _from_hex(content: bytes) -> bytes:
    try:
        return bytes.fromhex(content.decode())
    except ValueError:
        raise ValueError("it is not hexadecimal") from None


def _serials(value: str | tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(serial) for serial in value.split(",") if serial.strip()) if isinstance(value, str) else value


def _name(value: str) -> str:
    if not 0 < len(value) <= _MAX_NAME_LENGTH or not value.isprintable():
        raise ValueError
    return value


def _seconds(minimum_s: float, value: str | float) -> float:
    seconds = float(value)
    if not minimum_s <= seconds < _MAX_WAIT_S:
        raise ValueError
    return seconds


SecretFile = Annotated[
    bytes,
    BeforeValidator(_secret),
    Accepts(f"the path of a private file with {_MIN_SECRET_LENGTH} or more random bytes"),
]
ManagementKeyFile = Annotated[
    bytes,
    BeforeValidator(_management_key),
    Accepts("a private file with 16, 24 or 32 bytes in hexadecimal"),
]


class YubikeySettings(ServiceSettings):
    """Settings of the YubiKey service."""

    state_directory: Annotated[Path, Accepts("the path of a directory that no other process uses")] = Field(
        Path("./.state/yubikey"),
        validation_alias="STATE_DIR",
        description="the service's own state; keep it over restarts",
    )
    secret: SecretFile = Field(
        validation_alias="YUBIKEY_SECRET_FILE",
        description="seals what the service stores; the same for all agents",
        repr=False,
    )
    previous_secret: SecretFile | None = Field(
        None,
        validation_alias="YUBIKEY_PREVIOUS_SECRET_FILE",
        description="while secrets change: the secret so far",
        repr=False,
    )
    virtual_serials: Annotated[
        tuple[int, ...], BeforeValidator(_serials), Accepts("serial numbers, separated by commas")
    ] = Field((), validation_alias="VIRTUAL_YUBIKEYS", description="virtual devices, for development and tests")
    pcsc: Switch = Field(default=False, validation_alias="YUBIKEY_PCSC", description="uses real readers, by PC/SC")
    roots: Annotated[Path, Accepts("the path of a directory with PEM files")] | None = Field(
        None,
        validation_alias="YUBIKEY_ROOTS",
        description="more of Yubico's attestation certificates, beside the built-in ones",
    )
    management_key: ManagementKeyFile = Field(
        DEFAULT_MANAGEMENT_KEY,
        validation_alias="YUBIKEY_MANAGEMENT_KEY_FILE",
        description="the management key of new devices; unset: the default key",
        repr=False,
    )
    roles_file: Annotated[Path, Accepts("the path of a TOML file")] | None = Field(
        None,
        validation_alias="YUBIKEY_ROLES_FILE",
        description="roles of devices; unset: the built-in roles",
    )
    agent: Annotated[
        str,
        AfterValidator(_name),
        Accepts(f"a printable name of at most {_MAX_NAME_LENGTH} characters"),
    ] = Field(
        default_factory=socket.gethostname,
        validate_default=True,
        validation_alias="YUBIKEY_AGENT",
        description="the name of this machine in events; unset: the host name",
    )
    lease_s: Annotated[
        float,
        BeforeValidator(partial(_seconds, MIN_LEASE_S)),
        Accepts(f"a number of seconds, {MIN_LEASE_S:g} or more and below {_MAX_WAIT_S:g}"),
    ] = Field(
        15.0,
        validation_alias="YUBIKEY_LEASE",
        description="a silent agent loses its devices after this time",
    )
    patience_s: Annotated[
        float,
        BeforeValidator(partial(_seconds, 0.0)),
        Accepts(f"a number of seconds, 0 or more and below {_MAX_WAIT_S:g}"),
    ] = Field(
        180.0,
        validation_alias="YUBIKEY_PATIENCE",
        description="the time that a person has to touch a device or to enter its PIN",
    )
