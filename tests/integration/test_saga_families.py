"""Child sagas, sleeps and operator commands, on a real server with simulated services."""

from datetime import timedelta

import pytest

from services.saga.core.definition import Definition, Parallel, Sleep, Step, child
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP_1
from shared.contracts.key import commands as keys
from shared.contracts.key import events as kept
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.certificates import PkiBootstrapCompleted, StartPkiBootstrap
from shared.contracts.saga.maintenance import KeyExpiryCompleted, StartKeyExpiry
from shared.contracts.saga.protocol import CancelSaga, PauseSaga, ResumeSaga, RetrySaga, WithdrawSaga
from shared.messages.ids import new_id
from tests.support.fake_services import REQUEST, coordinating
from tests.support.waiting import until

SOON = timedelta(seconds=0.2)


def begin_child(saga):
    return StartPkiBootstrap.model_validate({**REQUEST, "saga_id": saga.id_of("child")}, strict=False)


def make_key(saga):
    return keys.GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256)


def completed(saga):
    return KeyExpiryCompleted(**saga.heading, key_id=saga.request.key_id)


CHILD, KEY = child(begin_child, PkiBootstrapCompleted), Step(make_key, kept.KeyGenerated, timeout=SOON)


def parent(*steps, **more):
    return Definition("key-expiry", StartKeyExpiry, steps, completed=completed, **more)


async def begun(services):
    saga_id = str(new_id())
    await services.start(StartKeyExpiry(saga_id=saga_id, key_id=saga_id))
    return saga_id


async def child_of(log, parent_id):
    """The id of the saga that the parent began, once it has."""
    told = await log.last_event("keys.events.saga.pki-bootstrap.started.*")
    assert (
        told.headers["CIM-Correlation-Id"]
        == (await log.last_event(f"keys.events.saga.*.started.{parent_id}")).headers["CIM-Correlation-Id"]
    )
    return told.body["saga_id"]


async def test_a_saga_begins_another_and_goes_on_when_that_is_complete(server, services, log):
    async with coordinating(server.url, parent(Parallel(CHILD, KEY)), PKI_BOOTSTRAP_1):
        saga_id = await begun(services)

        assert (await log.end_of(saga_id)).tokens[4] == "completed"
        assert (await log.end_of(await child_of(log, saga_id))).tokens[4] == "completed"


async def test_a_parent_that_fails_has_its_child_undone_though_that_was_complete(server, services, log):
    services.silent.add("make-key")
    async with coordinating(server.url, parent(CHILD, KEY), PKI_BOOTSTRAP_1):
        saga_id = await begun(services)
        end = await log.end_of(saga_id)
        child_id = await child_of(log, saga_id)
        undone = await log.last_event(f"keys.events.saga.pki-bootstrap.undone.*.{child_id}")

    assert (end.tokens[4], end.body["undone"]) == ("compensated", ["begin-child"])  # make-key has no undo
    assert len(undone.body["undone"]) == 4
    announced = [event.body["sequence"] for event in await log.announced(child_id)]
    assert announced == list(range(len(announced)))


async def test_a_parent_hears_that_its_child_was_undone_and_turns_back(server, services, log):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url, parent(CHILD), PKI_BOOTSTRAP_1):
        saga_id = await begun(services)
        child_id = await child_of(log, saga_id)
        await until(lambda: "create-root-certificate" in services.steps_sent(child_id))
        await services.start(CancelSaga(saga_id=child_id, reason="enough"))
        end = await log.end_of(saga_id)

    assert (end.tokens[4], end.body["reason"]) == ("compensated", "SagaCompensated: cancelled: enough")


async def test_a_saga_that_is_withdrawn_before_it_begins_does_not_begin(server, log):
    async with coordinating(server.url, PKI_BOOTSTRAP_1):
        saga_id = str(new_id())
        first = await log.ask("saga.withdraw", {"saga_id": saga_id})
        again = await log.ask("saga.withdraw", {"saga_id": saga_id})
        start = await log.ask("saga.pki-bootstrap.start", {**REQUEST, "saga_id": saga_id})
        unknown = await log.ask("saga.pause", {"saga_id": saga_id})

    assert [first.subject.split(".")[3], again.subject.split(".")[3]] == ["repeated", "repeated"]
    assert (start.body["code"], "withdrawn before it began" in start.body["message"]) == ("conflict", True)
    assert unknown.body["code"] == "not-found"


async def test_a_complete_saga_is_withdrawn_by_an_operator(server, services, log):
    async with coordinating(server.url):
        saga_id = await services.begin()
        await log.end_of(saga_id)
        first = await log.ask("saga.withdraw", {"saga_id": saga_id, "reason": "the wrong organisation"})
        undone = await log.last_event(f"keys.events.saga.*.undone.*.{saga_id}")
        again = await log.ask("saga.withdraw", {"saga_id": saga_id})

    assert first.subject.split(".")[4] == "withdrawing"
    assert undone.body["reason"] == "withdrawn: the wrong organisation"
    assert again.subject.split(".")[3] == "repeated"


async def test_a_saga_sleeps_by_a_timer_of_the_server_and_wakes_in_another_coordinator(server, services, log):
    definition = parent(Sleep("nap", lambda _: timedelta(seconds=1)), KEY)
    async with coordinating(server.url, definition):
        saga_id = await begun(services)
        await log.last_event(f"keys.events.saga.*.started.{saga_id}")
    async with coordinating(server.url, definition):
        end = await log.end_of(saga_id)

    assert end.tokens[4] == "completed"
    assert [event.tokens[4] for event in await log.announced(saga_id)] == ["started", "step", "step", "completed"]


async def test_a_paused_saga_goes_on_when_it_is_resumed(server, services, log):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url):
        saga_id = await services.begin()
        await until(lambda: "create-root-certificate" in services.steps_sent(saga_id))
        paused = await log.ask("saga.pause", {"saga_id": saga_id, "reason": "audit"})
        services.silent.clear()
    async with coordinating(server.url):  # a coordinator that begins anew asks nothing either
        resumed = await log.ask("saga.resume", {"saga_id": saga_id})
        end = await log.end_of(saga_id)

    assert [paused.subject.split(".")[4], resumed.subject.split(".")[4]] == ["paused", "resumed"]
    assert end.tokens[4] == "completed"


async def test_without_a_way_back_a_step_waits_for_an_operator(server, services, log):
    services.rejections["make-key"] = 3
    at_once = KEY.retry.__class__(delay=timedelta(seconds=0.02))
    step = Step(make_key, kept.KeyGenerated, retry=at_once)
    async with coordinating(server.url, parent(step, forward_only=True)):
        saga_id = await begun(services)
        stuck = await log.last_event(f"keys.events.saga.*.stuck.*.{saga_id}")
        retried = await log.ask("saga.retry", {"saga_id": saga_id})
        end = await log.end_of(saga_id)

    assert stuck.body["step"] == "make-key"
    assert retried.subject.split(".")[4] == "retried"
    assert end.tokens[4] == "completed"


@pytest.mark.parametrize("command", [PauseSaga, ResumeSaga, RetrySaga, WithdrawSaga])
async def test_an_order_that_is_told_again_is_answered_once(server, services, log, command):
    services.silent.add("create-root-certificate")
    async with coordinating(server.url):
        saga_id = await services.begin()
        await until(lambda: "create-root-certificate" in services.steps_sent(saga_id))
        verb, command_id = command.__name__.removesuffix("Saga").lower(), str(new_id())
        for _ in range(3):
            headers = {"CIM-Command-Id": command_id, "Nats-Msg-Id": str(new_id())}
            await log.publish(f"saga.{verb}", {"saga_id": saga_id}, headers)
        await until(services.everything_is_processed)
        caused = [event for event in await log.events() if event.headers["CIM-Causation-Id"] == command_id]

    answers = [event for event in caused if event.tokens[2] == "command" or event.tokens[4] != "undone"]
    assert len({event.subject for event in answers}) == len(answers)
    assert len([event for event in answers if event.tokens[2] == "command"]) <= 1
