"""``python -m deploy.rebuild_views``: drop every document of KEYS_VIEWS and have the log told again, services running.

While it works, relying parties find only what is built already. NATS_URL says where (docs/operations.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import nats.errors
from nats.js.errors import NotFoundError

from shared.errors import Unusable
from shared.messages.permissions import PROVISIONER
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.streams import declare_consumer
from shared.process.settings import NatsSettings, read_or_exit

_PATIENCE = 5.0
_DURABLE, _STREAM = "views", "KV_KEYS_VIEWS"


async def rebuild(url: str, access: Access = ANONYMOUS) -> int:
    """Returns how many documents there are when the projector has heard everything that the log holds now."""
    async with asyncio.timeout(_PATIENCE):
        client = await access.connect(
            url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_quiet
        )
    try:
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer("KEYS_EVENTS", _DURABLE)
        await js.purge_stream(_STREAM)
        await declare_consumer(client, _DURABLE)  # a projector that runs goes on with it within two seconds
        while True:
            told = await js.consumer_info("KEYS_EVENTS", _DURABLE)
            if not told.num_pending and not told.num_ack_pending:
                return (await js.stream_info(_STREAM)).state.messages
            await asyncio.sleep(0.2)
    finally:
        await client.close()


async def _quiet(_: Exception) -> None: ...


def main() -> None:
    settings = read_or_exit(NatsSettings, os.environ)
    try:
        print(f"{asyncio.run(rebuild(settings.url, settings.access))} documents")
    except (Unusable, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"the views were not rebuilt: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
