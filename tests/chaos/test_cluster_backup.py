"""A backup of one server is restored to three, and of three to one, with the requested replicas."""

import json

import pytest

from deploy.backup import BackupFailed, restore, save, streams_in_order
from shared.nats.streams import declare, declare_all
from tests.chaos.test_cluster import the_disks_agree
from tests.support.nats import connected, nats_server
from tests.support.nats_cluster import cluster_up, missing
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


async def kept(client):
    """Of each stream: how many servers keep it, and how much."""
    found = {}
    for stream in streams_in_order():
        told = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
        found[stream] = told["config"]["num_replicas"], told["state"]["messages"], told["state"]["last_seq"]
    return found


def on(replicas, of):
    return {stream: (replicas, *rest) for stream, (_, *rest) in of.items()}


async def test_who_finds_streams_that_one_of_three_servers_keeps_alone_says_so_until_all_do(tmp_path, caplog):
    async with cluster_up(tmp_path / "three") as three, connected(three.url) as client:
        await declare(client, "key")
        assert "KEYS_EVENTS" in caplog.text
        assert "STREAM_REPLICAS=3 python -m deploy.declare" in caplog.text

        caplog.clear()
        await declare_all(client, replicas=3)
        await declare(client, "key")
        assert caplog.text == ""
        assert {replicas for replicas, *_ in (await kept(client)).values()} == {3}


async def test_what_one_server_kept_three_keep_and_then_one_again(tmp_path):
    async with nats_server(tmp_path / "one") as one, connected(one.url) as client:
        await declare(client)
        for number in range(50):
            await client.jetstream().publish(f"keys.events.key.generated.{number}", b"{}")
            await client.jetstream().publish(f"$KV.KEYS_SECRETS.{number}", b"sealed")
        before = await kept(client)
        await save(client, tmp_path / "of-one")

    async with cluster_up(tmp_path / "three") as three, connected(three.url) as client:
        await restore(client, tmp_path / "of-one", replicas=3)
        assert await kept(client) == on(3, before)
        await until(lambda: the_disks_agree(three), within=30)
        await save(client, tmp_path / "of-three")

    async with nats_server(tmp_path / "another") as another, connected(another.url) as client:
        with pytest.raises(BackupFailed, match="replicas"):
            await restore(client, tmp_path / "of-three")
        await restore(client, tmp_path / "of-three", replicas=1)
        assert await kept(client) == before
