"""Settings of the console."""

from __future__ import annotations

import getpass
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.process.settings import Accepts, NatsSettings, SettingsGroup

_MAX_ACTOR_LENGTH = 256


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "anonymous"


def _printable(value: str) -> str:
    if len(value) > _MAX_ACTOR_LENGTH or not value.isprintable():
        raise ValueError
    return value


class ConsoleSettings(SettingsGroup):
    """Settings of `cim-keys`."""

    nats: NatsSettings = Field(default_factory=NatsSettings)
    actor: Annotated[
        str, AfterValidator(_printable), Accepts(f"a printable name of at most {_MAX_ACTOR_LENGTH} characters")
    ] = Field(
        default_factory=_login_name,
        validate_default=True,
        validation_alias="CIM_ACTOR",
        description="the actor of the commands that it sends; unset: the login name",
    )
    role: Annotated[str, Accepts("a role of subjects.yaml")] = Field(
        "operator", validation_alias="CIM_ROLE", description="the role that it connects as"
    )
