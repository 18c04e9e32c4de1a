"""Three servers, every stream on each: killed, cut off and given empty disks under load, nothing is lost, nothing is
done twice, and work goes on within seconds. The longest time without a saga's end is printed (docs/benchmarks.md).
"""

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise

import pytest

from tests.chaos.audit import audit
from tests.chaos.test_kill_nine import BOOTSTRAP, SERIALS, kill_at_random, run_sagas, services_of
from tests.support.nats_cluster import cluster_up, missing
from tests.support.suite import ENDS, suite_up
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

AWAY, SETTLED = 12.0, 8.0
"""Seconds: how long a server is cut off, which is longer than an election; how long there is peace in between."""


@asynccontextmanager
async def suite_on_three(directory):
    async with (
        cluster_up(directory / "cluster") as cluster,
        suite_up(directory / "state", SERIALS, servers=cluster.url, replicas=3) as suite,
    ):
        await suite.bootstrap()
        await suite.doomed_issuer()
        yield suite, cluster


async def begun_until(stop, suite):
    """A saga every tenth of a second: their ids."""
    sagas = {}
    while not stop.is_set():
        sagas[await suite.start_saga("pki-bootstrap", **BOOTSTRAP)] = BOOTSTRAP
        await asyncio.sleep(0.1)
    return sagas


async def nothing_is_lost_while(trouble, suite, cluster, seed=1):
    """Begin sagas of every kind as long as *trouble* goes on; then all must end, and the log and three disks agree."""
    stop = asyncio.Event()
    load = asyncio.create_task(begun_until(stop, suite))
    varied = asyncio.create_task(run_sagas(suite, random.Random(seed)))  # noqa: S311 - the moments of a run, no secrets
    await asyncio.sleep(2)
    await trouble()
    await asyncio.sleep(2)
    stop.set()
    sagas = {**await varied, **await load}
    await asyncio.gather(*(suite.end_of(saga_id, within=90) for saga_id in sagas))
    await cluster.healthy()
    print(await audit(suite, sagas), f"longest time without an end: {await longest_silence(suite):.1f} s")
    await until(lambda: the_disks_agree(cluster), within=30)


async def longest_silence(suite):
    ends = [event for event in await suite.events("keys.events.saga.>") if event.tokens[4] in ENDS]
    times = [datetime.fromisoformat(event.headers["CIM-Timestamp"]) for event in ends]
    return max((later - earlier).total_seconds() for earlier, later in pairwise(sorted(times)))


async def the_disks_agree(cluster):
    """Returns true if all servers report the same messages, bytes and sequences of every stream."""
    said = set()
    for node in cluster.nodes:
        (account,) = (await node.monitoring("/jsz?streams=true&accounts=true"))["account_details"]
        streams = {stream["name"]: stream["state"] for stream in account["stream_detail"]}
        counted = ("messages", "bytes", "first_seq", "last_seq")
        said.add(json.dumps({name: [state[key] for key in counted] for name, state in sorted(streams.items())}))
    return len(said) == 1


async def test_every_server_is_killed_in_turn_and_services_with_them(tmp_path):
    async with suite_on_three(tmp_path) as (suite, cluster):

        async def each_is_killed():
            leader = await cluster.leader_of(suite.client, "KEYS_EVENTS")
            for node in (leader, *(node for node in cluster.nodes if node is not leader)):
                node.kill()
                await kill_at_random(random.Random(node.number), services_of(suite), 2, (0.5, 3.0))  # noqa: S311 - as above
                node.start()
                await cluster.healthy()
                await asyncio.sleep(SETTLED)

        await nothing_is_lost_while(each_is_killed, suite, cluster)


async def test_a_leader_is_cut_off_from_everybody_and_comes_back(tmp_path):
    async with suite_on_three(tmp_path) as (suite, cluster):

        async def the_leader_is_cut_off():
            for stream in ("KEYS_EVENTS", "KEYS_COMMANDS"):
                leader = await cluster.leader_of(suite.client, stream)
                leader.cut_off()
                await asyncio.sleep(AWAY)
                leader.heal()
                await cluster.healthy()
                await asyncio.sleep(SETTLED)

        await nothing_is_lost_while(the_leader_is_cut_off, suite, cluster)


async def test_a_leader_that_clients_hear_and_its_peers_do_not_misleads_nobody(tmp_path):
    async with suite_on_three(tmp_path) as (suite, cluster):

        async def the_leader_is_alone():
            leader = await cluster.leader_of(suite.client, "KEYS_EVENTS")
            others = [node for node in cluster.nodes if node is not leader]
            leader.cut_off_from(*others)
            await asyncio.sleep(AWAY)
            leader.heal()
            await cluster.healthy()

        await nothing_is_lost_while(the_leader_is_alone, suite, cluster)


async def test_a_disk_that_was_wiped_is_filled_again_and_bears_the_loss_of_another(tmp_path):
    async with suite_on_three(tmp_path) as (suite, cluster):

        async def two_disks_are_wiped_one_after_the_other():
            leader = await cluster.leader_of(suite.client, "KEYS_EVENTS")
            for node in (leader, *[node for node in cluster.nodes if node is not leader][:1]):
                node.kill()
                node.wipe()
                await asyncio.sleep(3)
                node.start()
                await cluster.healthy()
                await asyncio.sleep(SETTLED)

        await nothing_is_lost_while(two_disks_are_wiped_one_after_the_other, suite, cluster)
