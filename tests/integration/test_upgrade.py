"""`deploy.upgrade`: streams of an earlier version are updated to this one and keep their messages."""

import json

import pytest

from deploy.upgrade import upgrade
from shared.errors import Unusable
from shared.messages.catalog import catalog
from shared.nats.streams import consumer_config, declare, declare_consumer, stream_configs

OF_BEFORE = ["keys.commands.certificate.>", "keys.commands.key.>", "keys.commands.saga.>", "keys.commands.yubikey.>"]


async def _api(client, subject, request=None):
    return json.loads((await client.request(f"$JS.API.{subject}", json.dumps(request or {}).encode())).data)


@pytest.fixture(name="old")
async def _old(client):
    """A server with the streams of version 0.1.0 (fewer subjects, one revision a secret, fewer filters) and data."""
    for name, config in stream_configs(catalog()).items():
        changes = {"KEYS_COMMANDS": {"subjects": OF_BEFORE}, "KV_KEYS_SECRETS": {"max_msgs_per_subject": 1}}
        answer = await _api(client, f"STREAM.CREATE.{name}", {**config, **changes.get(name, {})})
        assert "error" not in answer, answer
    wanted = {k: v for k, v in consumer_config(catalog(), "certificate").items() if not k.startswith("filter")}
    config = {**wanted, "filter_subject": "keys.commands.certificate.>"}
    request = {"stream_name": "KEYS_COMMANDS", "config": config, "action": "create"}
    assert "error" not in await _api(client, "CONSUMER.DURABLE.CREATE.KEYS_COMMANDS.certificate", request)
    await client.jetstream().publish("keys.commands.certificate.create", b"{}")
    await client.jetstream().publish("$KV.KEYS_SECRETS.key.one", b"sealed")
    return client


async def test_the_services_refuse_it_and_after_the_upgrade_they_do_not(server, old):
    with pytest.raises(Unusable, match="differs from streams"):
        await declare(old)

    assert set(await upgrade(server.url)) == {"KEYS_COMMANDS", "KV_KEYS_SECRETS", "certificate"}

    await declare(old)
    for durable in catalog().consumers:
        await declare_consumer(old, durable)


async def test_what_was_in_it_is_still_there(server, old):
    await upgrade(server.url)

    js = old.jetstream()
    assert (await js.get_msg("KV_KEYS_SECRETS", subject="$KV.KEYS_SECRETS.key.one")).data == b"sealed"
    waiting = await js.pull_subscribe_bind("certificate", "KEYS_COMMANDS")
    assert [message.data for message in await waiting.fetch(1, timeout=5)] == [b"{}"]


@pytest.mark.usefixtures("old")
async def test_a_second_time_there_is_nothing_to_change(server):
    await upgrade(server.url)

    assert await upgrade(server.url) == []


async def test_on_how_many_servers_a_stream_is_kept_is_no_release_s_business(server, client):
    await declare(client)
    elsewhere = {name: {**config, "num_replicas": 3} for name, config in stream_configs(catalog()).items()}

    assert await upgrade(server.url, streams=elsewhere) == []  # a single server would reject three replicas
