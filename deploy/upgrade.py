"""``python -m deploy.upgrade``: have the server hold what this version's streams.yaml says, services stopped.

What is missing, the services create themselves; what an earlier version made, they refuse to run against. This changes
subjects, histories and filters of what is there, and loses nothing of what is in it. NATS_URL says where.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import nats.errors
from nats.aio.client import Client

from shared.errors import Unusable
from shared.messages.catalog import catalog
from shared.messages.permissions import PROVISIONER
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.streams import consumer_config, declare, require_server, stream_configs
from shared.process.settings import NatsSettings, read_or_exit

Config = dict[str, Any]


async def upgrade(url: str, access: Access = ANONYMOUS) -> list[str]:
    """What was changed. Raises Unusable where the server refuses a change, with what it says."""
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1)
    try:
        require_server(client)
        changed = [name for name, wanted in stream_configs(catalog()).items() if await _stream(client, name, wanted)]
        changed += [name for name in catalog().consumers if await _consumer(client, name)]
        await declare(client)
        return changed
    finally:
        await client.close()


async def _stream(client: Client, name: str, config: Config) -> bool:
    """On how many servers a stream is kept is no release's business, but whose cluster it is (`deploy.declare`)."""
    wanted = {key: value for key, value in config.items() if key != "num_replicas"}
    found = (await _api(client, f"STREAM.INFO.{name}", {})).get("config")
    if found is None or not _differs(found, wanted):
        return False
    await _change(client, f"STREAM.UPDATE.{name}", {**found, **wanted})
    return True


async def _consumer(client: Client, durable: str) -> bool:
    stream, wanted = catalog().consumers[durable].stream, consumer_config(catalog(), durable)
    found = (await _api(client, f"CONSUMER.INFO.{stream}.{durable}", {})).get("config")
    if found is None or not _differs(found, wanted):
        return False
    kept = {key: value for key, value in found.items() if not key.startswith("filter_subject")}
    request = {"stream_name": stream, "config": {**kept, **wanted}, "action": "update"}
    await _change(client, f"CONSUMER.DURABLE.CREATE.{stream}.{durable}", request)
    return True


def _differs(found: Config, wanted: Config) -> bool:
    def normal(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else value

    return any(normal(found.get(key, type(value)())) != normal(value) for key, value in wanted.items())


async def _change(client: Client, subject: str, request: Config) -> None:
    answer = await _api(client, subject, request)
    if "error" in answer:
        raise Unusable(f"{subject} was refused: {answer['error'].get('description')}")


async def _api(client: Client, subject: str, request: Config) -> Config:
    answer = await client.request(f"$JS.API.{subject}", json.dumps(request).encode(), timeout=10)
    decoded: Config = json.loads(answer.data)
    return decoded


def main() -> None:
    settings = read_or_exit(NatsSettings, os.environ)
    try:
        changed = asyncio.run(upgrade(settings.url, settings.access))
    except (Unusable, nats.errors.Error, OSError) as error:
        sys.exit(f"nothing more was changed: {error or type(error).__name__}")
    print(f"changed: {', '.join(changed)}" if changed else "all is as this version has it")


if __name__ == "__main__":
    main()
