"""``python -m deploy.declare``: have the server hold every stream, bucket and consumer, as the one who may create them.

Where services may not create anything (docs/security.md), this runs before they start. NATS_URL says where.
"""

from __future__ import annotations

import asyncio
import os
import sys

import nats.errors

from shared.access import Access
from shared.errors import Unusable
from shared.permissions import PROVISIONER
from shared.streams import declare_all


async def declared(url: str, access: Access) -> None:
    """Raises Unusable where something stands that streams.yaml does not say."""
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_quiet)
    try:
        await declare_all(client)
    finally:
        await client.close()


async def _quiet(_: Exception) -> None: ...


def main() -> None:
    try:
        asyncio.run(
            declared(os.environ.get("NATS_URL") or "nats://127.0.0.1:4222", Access.from_environment(os.environ))
        )
    except (Unusable, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"nothing more was declared: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
