"""``python -m deploy.upgrade``: updates streams, buckets and consumers to this version's streams.yaml.

Stop the services first. They create missing streams, but reject those that an earlier version configured differently.
The upgrade changes subjects, histories and filters; it keeps all messages. NATS_URL names the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
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


async def upgrade(url: str, access: Access = ANONYMOUS, streams: Mapping[str, Config] | None = None) -> list[str]:
    """Returns the names of changed streams and consumers. Raises Unusable with the server's reason.

    *streams*: configurations to update to, if not those of streams.yaml.
    """
    client = await access.connect(url, PROVISIONER, allow_reconnect=False, max_reconnect_attempts=1)
    try:
        require_server(client)
        configs = stream_configs(catalog()) if streams is None else streams
        changed = [name for name, config in configs.items() if await _update_stream(client, name, config)]
        changed += [name for name in catalog().consumers if await _update_consumer(client, name)]
        await declare(client)
        return changed
    finally:
        await client.close()


async def _update_stream(client: Client, name: str, config: Config) -> bool:
    """Leaves the number of replicas as it is: the cluster's owner sets it (`deploy.declare`)."""
    expected = {key: value for key, value in config.items() if key != "num_replicas"}
    found = (await _api(client, f"STREAM.INFO.{name}", {})).get("config")
    if found is None or not _differs(found, expected):
        return False
    await _require(client, f"STREAM.UPDATE.{name}", {**found, **expected})
    return True


async def _update_consumer(client: Client, durable: str) -> bool:
    stream, expected = catalog().consumers[durable].stream, consumer_config(catalog(), durable)
    found = (await _api(client, f"CONSUMER.INFO.{stream}.{durable}", {})).get("config")
    if found is None or not _differs(found, expected):
        return False
    kept = {key: value for key, value in found.items() if not key.startswith("filter_subject")}
    request = {"stream_name": stream, "config": {**kept, **expected}, "action": "update"}
    await _require(client, f"CONSUMER.DURABLE.CREATE.{stream}.{durable}", request)
    return True


def _differs(found: Config, expected: Config) -> bool:
    def normalized(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else value

    return any(normalized(found.get(key, type(value)())) != normalized(value) for key, value in expected.items())


async def _require(client: Client, subject: str, request: Config) -> None:
    response = await _api(client, subject, request)
    if "error" in response:
        raise Unusable(f"the server rejected {subject}: {response['error'].get('description')}")


async def _api(client: Client, subject: str, request: Config) -> Config:
    response = await client.request(f"$JS.API.{subject}", json.dumps(request).encode(), timeout=10)
    decoded: Config = json.loads(response.data)
    return decoded


def main() -> None:
    settings = read_or_exit(NatsSettings, os.environ)
    try:
        changed = asyncio.run(upgrade(settings.url, settings.access))
    except (Unusable, nats.errors.Error, OSError) as error:
        sys.exit(f"the upgrade is incomplete: {error or type(error).__name__}; correct this and run it again")
    print(
        f"changed: {', '.join(changed)}"
        if changed
        else "nothing to change: the server has this version's configuration"
    )


if __name__ == "__main__":
    main()
