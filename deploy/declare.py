"""``python -m deploy.declare``: creates every stream, bucket and consumer, with the permissions of the provisioner.

It runs before services that may not create anything themselves (docs/security.md). NATS_URL names the server.
STREAM_REPLICAS sets the replicas (1, 3 or 5) of all streams and buckets, including existing ones.
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

_REPLICA_COUNTS = ("1", "3", "5")


def _replica_count(value: str | int) -> int:
    if str(value) not in _REPLICA_COUNTS:
        raise ValueError
    return int(value)


Replicas = Annotated[int, BeforeValidator(_replica_count), Accepts("1, 3 or 5")]


async def declare_streams(url: str, access: Access, replicas: int | None = None) -> None:
    """Raises Unusable if something exists that differs from streams.yaml, Transient if JetStream does not answer."""
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_ignore)
    try:
        await declare_all(client, replicas)
    finally:
        await client.close()


async def _ignore(_: Exception) -> None: ...


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
        asyncio.run(declare_streams(settings.nats.url, settings.nats.access, settings.replicas))
    except (Unusable, Transient, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"streams were not declared: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
