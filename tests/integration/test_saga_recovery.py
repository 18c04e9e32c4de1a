"""Recovery after the loss of KEYS_SAGAS: rebuilt sagas go on to the ends that they would have had."""

import pytest

from services.saga.core.definition import Definition, Step, child
from services.saga.definitions.parts import key_undone
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP_1
from services.saga.recovery import Recovery
from shared.contracts.key.commands import GenerateKey
from shared.contracts.key.events import KeyGenerated
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.certificates import PkiBootstrapCompleted, StartPkiBootstrap
from shared.contracts.saga.protocol import StartSaga
from shared.errors import Unusable
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from tests.support.fake_services import REQUEST, coordinating
from tests.support.waiting import until


class StartFamily(StartSaga):
    pass


def begin_child(saga):
    return StartPkiBootstrap.model_validate({**REQUEST, "saga_id": saga.id_of("child")}, strict=False)


def make_key(saga):
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256)


UNDO = key_undone(lambda saga: saga.id_of("key"), "undone")
FAMILY = Definition(
    "family", StartFamily, (child(begin_child, PkiBootstrapCompleted), Step(make_key, KeyGenerated, undo=UNDO))
)
ALL = (PKI_BOOTSTRAP_1, FAMILY)


@pytest.fixture(name="recovery")
def _recovery(services):
    return Recovery(services.js, ALL)


async def stopped_in_the_midst(server, services):
    """Two sagas that wait for an answer, one that is over, one whose child waits; their ids."""
    services.silent |= {"sign-root-certificate"}
    async with coordinating(server.url, *ALL):
        waiting = [await services.begin() for _ in range(2)]
        family = str(new_id())
        await services.start(StartFamily(saga_id=family))
        await until(lambda: len([step for _, step, _ in services.sent if step == "sign-root-certificate"]) >= 3)
        await until(services.everything_is_processed)
    return [*waiting, family]


async def lose(services):
    await services.js.purge_stream("KV_KEYS_SAGAS")


async def test_all_that_is_lost_is_made_again_and_goes_on(server, services, log, recovery):
    begun = await stopped_in_the_midst(server, services)
    before = {saga_id: await services.waits_for(saga_id) for saga_id in begun}
    await lose(services)

    lines = await recovery.run((), check=False)

    assert len(lines) == 4  # the child is one too
    assert all("is lost; rebuilt, running" in line for line in lines)
    after = {saga_id: await services.waits_for(saga_id) for saga_id in begun}
    assert {i: (phase, said) for i, (phase, _, said) in before.items()} == {
        i: (phase, said) for i, (phase, _, said) in after.items()
    }
    services.silent.clear()
    async with coordinating(server.url, *ALL):
        for message in services.unanswered:
            await services.answer(message)
        ends = [await log.end_of(saga_id) for saga_id in begun]
    assert [end.tokens[4] for end in ends] == ["completed"] * 3
    for saga_id in begun:
        told = [event.body["sequence"] for event in await log.announced(saga_id)]
        assert sorted(told) == list(range(len(told)))


async def test_a_check_writes_nothing_and_finds_nothing_where_all_is_well(server, services, recovery):
    begun = await stopped_in_the_midst(server, services)

    assert await recovery.run((), check=True) == []
    await lose(services)
    assert len(await recovery.run((), check=True)) == 4
    assert await KeyValue(services.js, "KEYS_SAGAS").get(f"*.{begun[0]}") is None


async def test_a_damaged_entry_is_made_again_and_the_others_are_left_as_they_are(server, services, recovery):
    begun = await stopped_in_the_midst(server, services)
    bucket = KeyValue(services.js, "KEYS_SAGAS")
    good, damaged = [await bucket.get(f"*.{saga_id}") for saga_id in begun[:2]]
    await bucket.put(damaged.key, b'{"schema": 2, "saga_type"', damaged.revision)

    lines = await recovery.run((), check=False)

    assert lines == [f"pki-bootstrap {begun[1]}: its entry is damaged; rebuilt, running"]
    assert (await bucket.get(good.key)).revision == good.revision


async def test_what_is_over_is_made_again_as_over_and_begins_no_second_time(server, services, log, recovery):
    async with coordinating(server.url, *ALL):
        saga_id = await services.begin()
        await log.end_of(saga_id)
        await until(services.everything_is_processed)
    await lose(services)
    await recovery.run((), check=False)

    async with coordinating(server.url, *ALL):
        await services.start(PKI_BOOTSTRAP_1.request.model_validate({**REQUEST, "saga_id": saga_id}, strict=False))
        repeated = await log.last_event("keys.events.command.repeated.*")

    assert repeated.body["aggregate_id"] == saga_id
    assert sum(event.tokens[4] == "completed" for event in await log.announced(saga_id)) == 1


async def test_beside_a_coordinator_that_runs_nothing_is_written(server, services, recovery):
    async with coordinating(server.url, *ALL):
        await until(lambda: _reads(services))
        with pytest.raises(Unusable, match="stop every one of them first"):
            await recovery.run((), check=False)


async def _reads(services):
    return (await services.js.consumer_info("KEYS_COMMANDS", "saga")).num_waiting


async def test_a_saga_that_the_log_has_not_is_said_to_be_none(services, recovery):
    del services
    nobody = str(new_id())

    assert await recovery.run((nobody,), check=True) == [f"{nobody}: cannot be rebuilt: the log has no saga of that id"]
