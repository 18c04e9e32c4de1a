"""``python -m deploy.rebuild_views``: deletes every document of KEYS_VIEWS and replays the log, services running.

Meanwhile relying parties get only the documents that are already rebuilt. NATS_URL names the server
(docs/operations.md).
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

_CONNECT_TIMEOUT_S = 5.0
_DURABLE, _STREAM = "views", "KV_KEYS_VIEWS"
_POLL_INTERVAL_S = 0.2


async def rebuild(url: str, access: Access = ANONYMOUS) -> int:
    """Waits until the projector has handled the whole log, and returns the number of documents."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        client = await access.connect(
            url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_ignore
        )
    try:
        js = client.jetstream()
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer("KEYS_EVENTS", _DURABLE)
        await js.purge_stream(_STREAM)
        await declare_consumer(client, _DURABLE)  # a running projector resumes within two seconds
        while True:
            consumer = await js.consumer_info("KEYS_EVENTS", _DURABLE)
            if not consumer.num_pending and not consumer.num_ack_pending:
                return (await js.stream_info(_STREAM)).state.messages
            await asyncio.sleep(_POLL_INTERVAL_S)
    finally:
        await client.close()


async def _ignore(_: Exception) -> None: ...


def main() -> None:
    settings = read_or_exit(NatsSettings, os.environ)
    try:
        print(f"{asyncio.run(rebuild(settings.url, settings.access))} documents")
    except (Unusable, nats.errors.Error, OSError, TimeoutError) as error:
        sys.exit(f"the views were not rebuilt: {error or type(error).__name__}; run it again")


if __name__ == "__main__":
    main()
