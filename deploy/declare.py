"""``python -m deploy.declare``: have the server hold every stream, bucket and consumer, as the one who may create them.

Where services may not create anything (docs/security.md), this runs before they start. NATS_URL says where, and
STREAM_REPLICAS on how many servers of a cluster each thing is kept (1, 3 or 5): what stands already, too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import nats.errors
from pydantic import BeforeValidator, Field

from shared.errors import Transient, Unusable
from shared.messages.permissions import PROVISIONER
from shared.nats.connection import Access
from shared.nats.streams import declare_all
from shared.process.settings import Accepts, NatsSettings, SettingsGroup, read_or_exit

_NUMBERS = ("1", "3", "5")


def _number(value: str | int) -> int:
    if str(value) not in _NUMBERS:
        raise ValueError
    return int(value)


Replicas = Annotated[int, BeforeValidator(_number), Accepts("1, 3 or 5")]


async def declared(url: str, access: Access, replicas: int | None = None) -> None:
    """Raises Unusable where something stands that streams.yaml does not say, Transient while nobody answers."""
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_quiet)
    try:
        await declare_all(client, replicas)
    finally:
        await client.close()


async def _quiet(_: Exception) -> None: ...


class DeclareSettings(SettingsGroup):
    """Settings of `python -m deploy.declare`."""

    nats: NatsSettings = Field(default_factory=NatsSettings)
    replicas: Replicas | None = Field(
        None,
        validation_alias="STREAM_REPLICAS",
        description="servers of a cluster that store each stream and bucket; unset: as it is, or 1",
    )


def main() -> None:
    settings = read_or_exit(DeclareSettings, os.environ)
    try:
        asyncio.run(declared(settings.nats.url, settings.nats.access, settings.replicas))
    except (Unusable, Transient, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"nothing more was declared: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
