"""Several coordinators, as real processes: one is killed and another takes over."""

import asyncio
import os
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import nats.errors
import pytest
from nats.js import JetStreamContext

from services.saga.coordinator import Coordinator
from services.saga.core import machine
from services.saga.core.definition import Definition, Parallel, Step
from services.saga.core.state import Origin
from services.saga.definitions import DEFINITIONS
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from services.saga.runner import SagaRunner
from services.saga.store import SagaStore, StoredSaga
from shared.contracts.key import commands as keys
from shared.contracts.key.events import KeyGenerated
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.maintenance import KeyExpiryCompleted, StartKeyExpiry
from shared.contracts.saga.protocol import CancelSaga
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.fake_services import REQUEST, coordinating
from tests.support.waiting import until


def make_fast(saga):
    return keys.GenerateKey(key_id=saga.id_of("fast"), algorithm=Algorithm.EC_P256)


def make_slow(saga):
    return keys.GenerateKey(key_id=saga.id_of("slow"), algorithm=Algorithm.EC_P256)


def completed(saga):
    return KeyExpiryCompleted(**saga.heading, key_id=saga.request.key_id)


MADE = Parallel(Step(make_fast, KeyGenerated), Step(make_slow, KeyGenerated))
SIDE_BY_SIDE = Definition("key-expiry", StartKeyExpiry, (MADE,), completed=completed)


@asynccontextmanager
async def coordinators(url, number):
    """So many processes of `python -m services.saga`, killed at the end if they live still."""
    async with coordinating(url):
        pass  # streams and consumers are declared: what is published now reaches them
    command = (sys.executable, "-m", "services.saga")
    processes = [
        await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "NATS_URL": url}, stderr=asyncio.subprocess.DEVNULL
        )
        for _ in range(number)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def sequences(log):
    """Of each saga, what it announced, by number, in the order of the log."""
    told = {}
    for event in await log.events("keys.events.saga.>"):
        told.setdefault(event.body["saga_id"], []).append(event.body["sequence"])
    return told


async def test_sagas_of_three_coordinators_end_once_each_though_one_is_killed(server, services, log):
    async with coordinators(server.url, 3) as processes:
        sagas = [await services.begin() for _ in range(30)]
        await until(lambda: len(services.sent) > 60)
        processes[0].kill()
        ends = await asyncio.gather(*(log.end_of(saga_id) for saga_id in sagas))

    assert {end.tokens[4] for end in ends} == {"completed"}
    steps = [step.name for step in PKI_BOOTSTRAP.steps if isinstance(step, Step)]
    assert [services.steps_sent(saga_id) for saga_id in sagas] == [steps] * 30
    assert {saga_id: sorted(told) for saga_id, told in (await sequences(log)).items()} == {
        saga_id: list(range(len(steps) + 2)) for saga_id in sagas
    }


async def test_who_takes_over_does_not_ask_again_what_was_answered_meanwhile(server, client, services, log):
    services.silent.add("create-root-certificate")
    unanswered = []
    await client.subscribe("keys.commands.certificate.create", cb=_keep(unanswered))
    async with coordinators(server.url, 1) as (first,):
        sagas = [await services.begin() for _ in range(20)]
        await until(lambda: len(unanswered) == len(sagas))
        first.kill()
    services.silent.clear()
    for command in unanswered:
        await services.answer(command)

    async with coordinating(server.url, *DEFINITIONS):
        await asyncio.gather(*(log.end_of(saga_id) for saga_id in sagas))

    asked = Counter(services.sent)
    assert {often for (_, step, _), often in asked.items() if step == "create-root-certificate"} == {1}


async def test_what_is_pending_is_not_asked_again_when_what_stands_beside_it_is_answered(server, services, log):
    services.silent.add("make-slow")
    async with coordinating(server.url, SIDE_BY_SIDE):
        saga_id = str(new_id())
        await services.start(StartKeyExpiry(saga_id=saga_id, key_id=saga_id))
        await log.last_event(f"keys.events.saga.key-expiry.step.make-fast.{saga_id}")
        await until(services.everything_is_processed)

    assert Counter(step for _, step, _ in services.sent) == {"make-fast": 1, "make-slow": 1}


async def test_what_was_saved_and_not_told_by_one_is_told_by_the_next_before_what_follows(
    server, client, services, log
):
    async with coordinating(server.url, PKI_BOOTSTRAP):
        saga_id = await saved_and_not_sent(store_of(client), datetime.now(UTC))

        await services.start(CancelSaga(saga_id=saga_id, reason="enough"))
        await log.end_of(saga_id)

    assert [event.tokens[4] for event in await log.announced(saga_id)] == ["started", "compensating", "compensated"]


class LosesOnce(JetStreamContext):
    """A connection over which the first publish to a subject with that token gets no answer, as in an election."""

    def __init__(self, client, token):
        super().__init__(client)
        self._token = token

    async def publish(self, subject, *arguments, **named):
        if self._token in subject.split("."):
            self._token = None
            raise nats.errors.TimeoutError
        return await super().publish(subject, *arguments, **named)


async def test_what_comes_about_in_one_move_stands_in_the_log_in_that_order_though_a_publish_is_lost(client, log):
    await declare(client)
    at_once = Definition("key-expiry", StartKeyExpiry, (), completed=completed)
    store = SagaStore(KeyValue(client.jetstream(), "KEYS_SAGAS"), {"key-expiry/1": at_once})
    sagas = SagaRunner(LosesOnce(client, "started"), store, {StartKeyExpiry: at_once})
    saga_id, origin = str(new_id()), Origin(command_id=new_id(), correlation_id=new_id(), actor="tester")
    request = StartKeyExpiry(saga_id=saga_id, key_id=saga_id)

    with pytest.raises(nats.errors.TimeoutError):
        await sagas.begin(request, origin, datetime.now(UTC))
    await sagas.begin(request, origin, datetime.now(UTC))

    told = [event.tokens[4] for event in await log.events(f"keys.events.saga.*.*.{saga_id}")]
    assert told == ["started", "completed"]


async def test_the_sweep_sends_what_was_left_unsent_once(server, client, services, log):
    async with coordinating(server.url):
        pass  # the streams are declared
    store, a_while_ago = store_of(client), datetime.now(UTC) - timedelta(seconds=90)
    saga_id, just_now = [await saved_and_not_sent(store, at) for at in (a_while_ago, datetime.now(UTC))]
    coordinator = Coordinator(client.jetstream(), store, {PKI_BOOTSTRAP.request: PKI_BOOTSTRAP})
    services.silent.add("generate-root-key")

    await coordinator.sweep()
    await until(lambda: services.sent)
    await coordinator.sweep()

    assert [saga for saga, _, _ in services.sent] == [saga_id]
    assert [event.tokens[4] for event in await log.announced(saga_id)] == ["started"]
    assert not await log.announced(just_now)


async def saved_and_not_sent(store, at):
    """The id of a saga that began then, and whose coordinator died after saving it."""
    request = PKI_BOOTSTRAP.request.model_validate({**REQUEST, "saga_id": str(new_id())}, strict=False)
    saga = machine.begin(
        PKI_BOOTSTRAP, request, Origin(command_id=new_id(), correlation_id=new_id(), actor="tester"), at
    )
    saga = replace(saga, pending=tuple(each.postponed(timedelta(minutes=5)) for each in saga.pending))
    await store.save(StoredSaga(PKI_BOOTSTRAP, saga, 0), saga)
    return saga.saga_id


def store_of(client):
    return SagaStore(
        KeyValue(client.jetstream(), "KEYS_SAGAS"), {f"pki-bootstrap/{PKI_BOOTSTRAP.version}": PKI_BOOTSTRAP}
    )


def _keep(kept_messages):
    async def keep(message):
        kept_messages.append(message)

    return keep
