"""``python -m deploy.declare``: have the server hold every stream, bucket and consumer, as the one who may create them.

Where services may not create anything (docs/security.md), this runs before they start. NATS_URL says where, and
STREAM_REPLICAS on how many servers of a cluster each thing is kept (1, 3 or 5): what stands already, too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

import nats.errors

from shared.errors import Transient, Unusable
from shared.messages.permissions import PROVISIONER
from shared.nats.connection import Access
from shared.nats.streams import declare_all

_NUMBERS = ("1", "3", "5")


async def declared(url: str, access: Access, replicas: int | None = None) -> None:
    """Raises Unusable where something stands that streams.yaml does not say, Transient while nobody answers."""
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_quiet)
    try:
        await declare_all(client, replicas)
    finally:
        await client.close()


async def _quiet(_: Exception) -> None: ...


def replicas_from(environment: Mapping[str, str]) -> int | None:
    """What STREAM_REPLICAS says; None: nothing. Raises Unusable."""
    told = environment.get("STREAM_REPLICAS") or None
    if told is not None and told not in _NUMBERS:
        raise Unusable(f"STREAM_REPLICAS must be {', '.join(_NUMBERS)}, not {told!r}")
    return int(told) if told else None


def main() -> None:
    url, access = os.environ.get("NATS_URL") or "nats://127.0.0.1:4222", Access.from_environment(os.environ)
    try:
        asyncio.run(declared(url, access, replicas_from(os.environ)))
    except (Unusable, Transient, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"nothing more was declared: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
