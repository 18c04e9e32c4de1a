"""Streams on the server match streams.yaml, or no service starts."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from nats.js.errors import NoStreamResponseError

from shared.errors import Unusable
from shared.messages.catalog import catalog
from shared.nats.streams import consumer_config, declare, declare_consumer, require_server, stream_configs
from tests.support.nats import connected

NAMES = set(stream_configs(catalog()))


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    return client.jetstream()


async def _names(js):
    return {info.config.name for info in await js.streams_info()}


async def test_what_is_missing_is_created(js):
    assert await _names(js) == NAMES


async def test_declaring_twice_is_harmless(client, js):
    await js.publish("keys.commands.key.generate", b"{}")

    await declare(client)
    await declare_consumer(client, "key")
    await declare_consumer(client, "key")

    assert await _names(js) == NAMES
    assert (await js.stream_info("KEYS_COMMANDS")).state.messages == 1


async def test_services_that_start_at_once_do_not_get_in_each_others_way(server):
    async with AsyncExitStack() as connections:
        clients = [await connections.enter_async_context(connected(server.url)) for _ in range(4)]

        await asyncio.gather(*map(declare, clients))
        await asyncio.gather(*(declare_consumer(client, name) for client in clients for name in catalog().consumers))

        assert await _names(clients[0].jetstream()) == NAMES


@pytest.mark.parametrize(
    ("stream", "setting", "value"),
    [
        ("KEYS_EVENTS", "max_age", 30 * 86_400),
        ("KEYS_EVENTS", "max_msgs", 1_000_000),
        ("KEYS_EVENTS", "max_bytes", 10_000_000),
        ("KEYS_EVENTS", "max_msgs_per_subject", 1000),
        ("KEYS_EVENTS", "duplicate_window", 1),
        ("KEYS_EVENTS", "allow_rollup_hdrs", True),
        ("KEYS_EVENTS", "allow_direct", False),
        ("KEYS_EVENTS", "storage", "memory"),
        ("KEYS_EVENTS", "retention", "interest"),
        ("KEYS_EVENTS", "subjects", ["keys.events.key.>"]),
        ("KEYS_COMMANDS", "allow_msg_schedules", True),
        ("KEYS_COMMANDS", "max_age", 3600),
        ("KEYS_TIMERS", "allow_msg_schedules", False),
        ("KV_KEYS_SECRETS", "max_age", 86_400),
        ("KV_KEYS_SECRETS", "max_msgs_per_subject", 5),
        ("KV_KEYS_SAGAS", "max_msgs", 10),
        ("KV_KEYS_SAGAS", "allow_rollup_hdrs", True),
    ],
)
async def test_a_stream_that_differs_is_refused_by_what_differs(client, stream, setting, value):
    nanoseconds = 10**9 if setting in ("max_age", "duplicate_window") else 1
    config = stream_configs(catalog())[stream] | {setting: value * nanoseconds if nanoseconds > 1 else value}
    if config.get("allow_rollup_hdrs"):
        config |= {"deny_purge": False}
    if setting == "allow_msg_schedules" and value:
        config |= {"allow_rollup_hdrs": True}
    await _create(client, config)

    with pytest.raises(Unusable, match=f"{stream} differs from streams.yaml.*{setting} is"):
        await declare(client)


async def _create(client, config):
    answer = await client.request(f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps(config).encode())
    assert "error" not in json.loads(answer.data)


async def test_a_stream_that_differs_is_left_as_it_is(client):
    config = stream_configs(catalog())["KEYS_EVENTS"] | {"max_msgs": 7}
    await _create(client, config)

    with pytest.raises(Unusable):
        await declare(client)

    assert (await client.jetstream().stream_info("KEYS_EVENTS")).config.max_msgs == 7


async def test_a_consumer_that_differs_is_refused_by_what_differs(client, js):
    stream = await declare_consumer(client, "key")
    info = await js.consumer_info(stream, "key")
    await js.add_consumer(stream, replace(info.config, ack_wait=30))

    with pytest.raises(Unusable, match=r"KEYS_COMMANDS\.key differs from streams.yaml: ack_wait is"):
        await declare_consumer(client, "key")


@pytest.mark.parametrize("durable", sorted(catalog().consumers))
async def test_a_consumer_is_what_streams_yaml_says(client, js, durable):
    stream = await declare_consumer(client, durable)

    config = (await js.consumer_info(stream, durable)).config
    wanted = consumer_config(catalog(), durable)
    assert config.filter_subject == wanted.get("filter_subject")
    assert sorted(config.filter_subjects or []) == wanted.get("filter_subjects", [])
    assert config.deliver_subject is None


@pytest.mark.parametrize("subject", ["keys.commands.nonsense.x", "keys.commands.command.x", "keys.commands", "keys.x"])
async def test_a_subject_that_no_service_owns_is_in_no_stream(js, subject):
    with pytest.raises(NoStreamResponseError):
        await js.publish(subject, b"{}")


async def test_an_unknown_verb_of_a_known_aggregate_is_in_the_stream(js):
    assert (await js.publish("keys.commands.key.nonsense", b"{}")).stream == "KEYS_COMMANDS"


@pytest.mark.parametrize("name", sorted(catalog().buckets))
async def test_nobody_can_roll_a_bucket_up(js, name):
    await js.publish(f"$KV.{name}.a", b"kept")

    with pytest.raises(Exception, match="rollup"):
        await js.publish(f"$KV.{name}.b", b"", headers={"Nats-Rollup": "all"})

    assert (await js.get_msg(f"KV_{name}", subject=f"$KV.{name}.a")).data == b"kept"


@pytest.mark.parametrize("subject", ["keys.commands.key.generate", "keys.events.key.generated.1"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "keys.events.key.generated.2"},
    ],
)
async def test_nobody_can_roll_up_or_schedule_commands_and_events(js, subject, headers):
    with pytest.raises(Exception, match=r"rollup|schedul"):
        await js.publish(subject, b"{}", headers=headers)


async def test_what_happened_cannot_be_deleted_or_purged(js):
    await js.publish("keys.events.key.generated.1", b"{}")

    with pytest.raises(Exception, match="delete"):
        await js.delete_msg("KEYS_EVENTS", 1)
    with pytest.raises(Exception, match="purge"):
        await js.purge_stream("KEYS_EVENTS")


async def test_a_server_of_today_is_new_enough(client):
    require_server(client)


async def test_a_server_that_is_too_old_is_refused_with_its_version_and_the_oldest_one(client):
    client._current_server.server_version = "2.13.9"  # noqa: SLF001 - as if it had said so

    with pytest.raises(Unusable, match=r"2\.13\.9 is too old; 2\.14\.0 or newer"):
        require_server(client)


async def test_a_server_without_jetstream_is_refused(client):
    del client._server_info["jetstream"]  # noqa: SLF001 - as if it had said so

    with pytest.raises(Unusable, match="-js"):
        require_server(client)
