"""The coordinator on a real server, with simulated services that the tests control."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from nats.js.errors import NotFoundError

from services.saga.coordinator import Coordinator
from services.saga.core.definition import Retry
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP_1 as PKI_BOOTSTRAP
from services.saga.store import SagaStore
from shared.contracts.key.events import KeyDestroyed
from shared.messages.headers import Lineage, SagaContext
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from tests.support.fake_services import coordinating, impatient
from tests.support.waiting import until

STEPS = [step.name for step in PKI_BOOTSTRAP.steps]
SOON, LATER = timedelta(seconds=0.2), timedelta(seconds=1.5)
AT_ONCE = Retry(delay=timedelta(seconds=0.02))
RETRYING = replace(PKI_BOOTSTRAP, steps=tuple(replace(step, retry=AT_ONCE) for step in PKI_BOOTSTRAP.steps))
NEWER = replace(PKI_BOOTSTRAP, version=2)


async def asked(services, saga_id, step):
    await until(lambda: step in services.steps_sent(saga_id))


async def announced_once(log, saga_id):
    """Its announcements, in order, once it is sure that none is missing and none is there twice."""
    announced = await log.announced(saga_id)
    assert [event.body["sequence"] for event in announced] == list(range(len(announced)))
    return [event.tokens[4] for event in announced]


async def test_a_saga_asks_step_after_step_and_completes(server, services, log):
    async with coordinating(server.url):
        saga_id = await services.begin()

        assert (await log.end_of(saga_id)).tokens[4] == "completed"
    assert services.steps_sent(saga_id) == STEPS
    assert await announced_once(log, saga_id) == ["started", *["step"] * 8, "completed"]


async def test_a_step_that_nobody_answers_times_out_and_is_undone_with_all_before_it(server, services, log):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url, impatient(PKI_BOOTSTRAP, create_root_certificate=SOON)):
        saga_id = await services.begin()

        end = await log.end_of(saga_id)

    assert end.tokens[4] == "compensated"
    assert end.body["reason"].startswith("timeout: ")
    assert end.body["undone"] == ["create-root-certificate", "generate-root-key"]
    unknown_first = ["undo.create-root-certificate", "undo.generate-root-key", "undo.generate-root-key"]
    assert services.steps_sent(saga_id)[2:] == unknown_first


async def test_an_answer_that_comes_after_the_time_is_up_changes_nothing(server, services, log):
    services.silent.add("generate-root-key")
    kept = []
    await services.js._nc.subscribe("keys.commands.key.generate", cb=_keep(kept))  # noqa: SLF001 - the same client
    async with coordinating(server.url, impatient(PKI_BOOTSTRAP, generate_root_key=SOON)):
        saga_id = await services.begin()
        assert (await log.end_of(saga_id)).tokens[4] == "compensated"
        before = await services.revision(saga_id)

        await services.answer(kept[0])
        await until(services.everything_is_processed)

        assert await services.revision(saga_id) == before
    assert await announced_once(log, saga_id) == ["started", "compensating", "compensated"]


async def test_what_is_refused_for_a_reason_that_may_pass_is_asked_again_and_then_done(server, services, log):
    services.rejections["sign-root-certificate"] = 2
    async with coordinating(server.url, RETRYING):
        saga_id = await services.begin()

        assert (await log.end_of(saga_id)).tokens[4] == "completed"
    assert Counter(services.steps_sent(saga_id))["sign-root-certificate"] == 3
    step = await log.last_event(f"keys.events.saga.*.step.sign-root-certificate.{saga_id}")
    assert step.body["attempts"] == 3


async def test_what_is_refused_too_often_is_undone(server, services, log):
    services.rejections["sign-root-certificate"] = 3
    async with coordinating(server.url, RETRYING):
        saga_id = await services.begin()

        end = await log.end_of(saga_id)

    assert (end.tokens[4], end.body["reason"]) == ("compensated", "unavailable: not now")


async def test_an_undo_that_nobody_answers_leaves_something_over_and_the_rest_is_undone(server, services, log):
    undo = tuple(replace(undo, timeout=SOON, retry=AT_ONCE) for undo in PKI_BOOTSTRAP.steps[1].undo)
    steps = (PKI_BOOTSTRAP.steps[0], replace(PKI_BOOTSTRAP.steps[1], undo=undo), *PKI_BOOTSTRAP.steps[2:])
    definition = impatient(replace(PKI_BOOTSTRAP, steps=steps), sign_root_certificate=SOON)
    services.silent |= {"undo.create-root-certificate", "sign-root-certificate"}
    async with coordinating(server.url, definition):
        end = await log.end_of(await services.begin())

    assert end.tokens[4] == "failed"
    assert [left["step"] for left in end.body["left_over"]] == ["create-root-certificate"]
    assert end.body["undone"] == ["generate-root-key"]


@pytest.mark.parametrize("away_until_it_was_due", [False, True])
async def test_a_timer_survives_the_coordinator(server, services, log, away_until_it_was_due):
    definition = impatient(PKI_BOOTSTRAP, create_root_certificate=LATER)
    services.silent.add("create-root-certificate")
    async with coordinating(server.url, definition):
        saga_id = await services.begin()
        await asked(services, saga_id, "create-root-certificate")
    if away_until_it_was_due:
        await until(lambda: _has_fired(services, saga_id))

    async with coordinating(server.url, definition):
        end = await log.end_of(saga_id)

    assert (end.tokens[4], end.body["reason"].split(":")[0]) == ("compensated", "timeout")
    assert (await announced_once(log, saga_id))[-2:] == ["compensating", "compensated"]


async def test_a_timer_that_was_lost_is_noticed_by_the_next_coordinator(server, services, log):
    definition = impatient(PKI_BOOTSTRAP, create_root_certificate=LATER)
    services.silent.add("create-root-certificate")
    async with coordinating(server.url, definition):
        saga_id = await services.begin()
        await asked(services, saga_id, "create-root-certificate")
    await until(lambda: _has_fired(services, saga_id))
    await services.js.purge_stream("KEYS_TIMERS")

    async with coordinating(server.url, definition):
        assert (await log.end_of(saga_id)).tokens[4] == "compensated"


async def test_a_saga_that_waits_in_peace_is_looked_at_and_left_as_it_is(server, services, client):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url):
        saga_id = await services.begin()
        await asked(services, saga_id, "create-root-certificate")
    before = await services.revision(saga_id)
    js = client.jetstream()
    store = SagaStore(KeyValue(js, "KEYS_SAGAS"), {"pki-bootstrap/1": PKI_BOOTSTRAP})

    await Coordinator(js, store, {PKI_BOOTSTRAP.request: PKI_BOOTSTRAP}).sweep()

    assert await services.revision(saga_id) == before


async def test_answers_told_twice_and_strangers_answers_change_nothing(server, services, log):
    services.copies = 3
    async with coordinating(server.url):
        saga_id = await services.begin()
        await log.end_of(saga_id)
        before = await services.revision(saga_id)
        stranger = Lineage(
            message_id=new_id(),
            correlation_id=new_id(),
            causation_id=new_id(),
            saga=SagaContext("pki-bootstrap", saga_id, "undo"),
        )
        await services.publish(KeyDestroyed(key_id=str(new_id())), stranger)
        await until(services.everything_is_processed)

        assert await services.revision(saga_id) == before
    assert services.steps_sent(saga_id) == STEPS
    assert await announced_once(log, saga_id) == ["started", *["step"] * 8, "completed"]


async def test_the_whole_log_heard_again_changes_nothing(server, services, log):
    services.silent.add("attach-root-signature")
    async with coordinating(server.url):
        one, other = await services.begin(), await services.begin()
        await asked(services, one, "attach-root-signature")
        await asked(services, other, "attach-root-signature")
        await until(services.everything_is_processed)
    before = [await services.waits_for(saga_id) for saga_id in (one, other)], await log.events()
    await services.js.delete_consumer("KEYS_EVENTS", "saga-events")

    async with coordinating(server.url):
        await until(services.everything_is_processed)

        after = [await services.waits_for(saga_id) for saga_id in (one, other)], await log.events()
    assert after == before


async def test_a_saga_of_a_version_that_is_unknown_is_left_alone_and_goes_on_where_it_is_known(server, services, log):
    services.silent.add("create-root-certificate")
    kept = []
    await services.js._nc.subscribe("keys.commands.certificate.create", cb=_keep(kept))  # noqa: SLF001 - its connection
    async with coordinating(server.url, NEWER):
        newer = await services.begin()
        await asked(services, newer, "create-root-certificate")
    before = await services.revision(newer)
    services.silent.clear()

    async with coordinating(server.url):
        await services.answer(kept[0])
        await log.end_of(await services.begin())
        assert await services.revision(newer) == before
    assert await announced_once(log, newer) == ["started", "step"]

    async with coordinating(server.url, PKI_BOOTSTRAP, NEWER):
        assert (await log.end_of(newer)).tokens[4] == "completed"


async def test_a_saga_of_a_version_that_is_unknown_does_not_hide_the_others_from_the_watchdog(server, services, log):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url, NEWER):
        await asked(services, await services.begin(), "create-root-certificate")
    known = impatient(PKI_BOOTSTRAP, create_root_certificate=LATER)
    async with coordinating(server.url, known):
        saga_id = await services.begin()
        await asked(services, saga_id, "create-root-certificate")
    await until(lambda: _has_fired(services, saga_id))
    await services.js.purge_stream("KEYS_TIMERS")

    async with coordinating(server.url, known):
        assert (await log.end_of(saga_id)).tokens[4] == "compensated"


async def test_three_coordinators_at_once_drive_each_saga_once(server, services, log):
    services.copies = 2
    async with coordinating(server.url), coordinating(server.url), coordinating(server.url):
        sagas = await asyncio.gather(*(services.begin() for _ in range(40)))
        ends = await asyncio.gather(*(log.end_of(saga_id) for saga_id in sagas))

    assert {end.tokens[4] for end in ends} == {"completed"}
    for saga_id in sagas:
        assert services.steps_sent(saga_id) == STEPS
    for saga_id in sagas[:5]:
        assert await announced_once(log, saga_id) == ["started", *["step"] * 8, "completed"]
    assert len(await log.events("keys.events.saga.>")) == 40 * 10


def _keep(kept):
    async def keep(message):
        kept.append(message)

    return keep


async def _has_fired(services, saga_id):
    try:
        await services.js.get_msg("KEYS_TIMERS", subject=f"keys.timers.{saga_id}.due")
    except NotFoundError:
        return False
    return True


async def test_of_sagas_that_are_over_the_sweep_reads_no_more_than_that(server, services, log, client):
    services.silent.add("attach-root-signature")
    async with coordinating(server.url):
        waiting = await services.begin()
        await asked(services, waiting, "attach-root-signature")
        services.silent.clear()
        over = await services.begin()
        await log.end_of(over)
    bucket = KeyValue(client.jetstream(), "KEYS_SAGAS")
    as_older_versions_wrote_it = await bucket.get(f"pki-bootstrap.{over}")
    older = str(new_id())
    await bucket.put(f"pki-bootstrap.{older}", as_older_versions_wrote_it.value, 0)
    store = SagaStore(bucket, {"pki-bootstrap/1": PKI_BOOTSTRAP})

    assert [found.saga.saga_id async for found in store.unfinished()] == [waiting]
    assert {key for key, headers in [each async for each in bucket.headers()] if "CIM-Saga-Phase" in headers} == {
        f"pki-bootstrap.{waiting}",
        f"pki-bootstrap.{over}",
    }
