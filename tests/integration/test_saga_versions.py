"""Two versions of one definition side by side: each saga ends under the version with which it began."""

import asyncio

from services.saga.core.definition import Definition, Step
from services.saga.definitions.parts import key_undone
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP, PKI_BOOTSTRAP_1
from shared.contracts.key.commands import GenerateKey, RevokeKey
from shared.contracts.key.events import KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import CancelSaga, StartSaga
from shared.messages.envelope import subject_of
from shared.messages.ids import new_id
from shared.process.middlewares import RetryOptions
from tests.support.fake_services import coordinating
from tests.support.waiting import until


class StartLoan(StartSaga):
    pass


def make_key(saga):
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256)


def make_spare_key(saga):
    return GenerateKey(key_id=saga.id_of("spare"), algorithm=Algorithm.EC_P256)


def take_key_back(saga):
    return RevokeKey(key_id=saga.id_of("key"), reason="cessation-of-operation")


MAKE = Step(make_key, KeyGenerated, undo=key_undone(lambda saga: saga.id_of("key"), "undone"))
SPARE = Step(make_spare_key, KeyGenerated, undo=key_undone(lambda saga: saga.id_of("spare"), "undone"))
LOAN_1 = Definition("loan", StartLoan, (MAKE, Step(take_key_back, KeyRevoked)))
LOAN_2 = Definition("loan", StartLoan, (MAKE, SPARE), version=2)


async def begin(services):
    saga_id = str(new_id())
    await services.start(StartLoan(saga_id=saga_id))
    await until(lambda: services.steps_sent(saga_id))
    return saga_id


async def steps_told(log, saga_id):
    announced = await log.announced(saga_id)
    assert [event.body["sequence"] for event in announced] == list(range(len(announced)))
    version = announced[0].body["definition_version"]
    return version, [event.body["step"] for event in announced if event.tokens[4] == "step"]


async def answer_all(services):
    services.silent.clear()
    unanswered, services.unanswered = services.unanswered, []
    for command in unanswered:
        await services.answer(command)


async def test_each_saga_ends_under_the_version_that_it_began_under(server, services, log):
    services.silent.add("make-key")
    async with coordinating(server.url, LOAN_1):
        older = [await begin(services) for _ in range(5)]

    async with coordinating(server.url, LOAN_1, LOAN_2):
        newer = [await begin(services) for _ in range(5)]
        await answer_all(services)
        ends = await asyncio.gather(*(log.end_of(saga_id) for saga_id in (*older, *newer)))

    assert {end.tokens[4] for end in ends} == {"completed"}
    assert [await steps_told(log, each) for each in older] == [(1, ["make-key", "take-key-back"])] * 5
    assert [await steps_told(log, each) for each in newer] == [(2, ["make-key", "make-spare-key"])] * 5


async def test_what_is_undone_is_undone_by_the_table_of_its_own_version(server, services, log):
    services.silent |= {"make-spare-key", "take-key-back"}
    async with coordinating(server.url, LOAN_1):
        older = await begin(services)
    async with coordinating(server.url, LOAN_2, LOAN_1):  # in whatever order they are given
        newer = await begin(services)
        await until(lambda: len(services.unanswered) == 2)
        for saga_id in (older, newer):
            await services.start(CancelSaga(saga_id=saga_id))
        ends = [await log.end_of(saga_id) for saga_id in (older, newer)]

    assert [(end.tokens[4], end.body["undone"]) for end in ends] == [
        ("compensated", ["make-key"]),
        ("compensated", ["make-spare-key", "make-key"]),
    ]


async def test_the_suite_s_own_two_versions_run_side_by_side(server, services, log):
    services.silent.add("generate-root-key")
    async with coordinating(server.url, PKI_BOOTSTRAP_1):
        older = await services.begin()
        await until(lambda: services.unanswered)
    async with coordinating(server.url, PKI_BOOTSTRAP_1, PKI_BOOTSTRAP):
        newer = await services.begin()
        await until(lambda: len(services.unanswered) == 2)
        await answer_all(services)
        ends = [await log.end_of(saga_id) for saga_id in (older, newer)]

    assert [end.tokens[4] for end in ends] == ["completed", "completed"]
    assert [bool(end.body["trust_bundle_id"]) for end in ends] == [False, True]
    assert len((await steps_told(log, older))[1]) < len((await steps_told(log, newer))[1])


IMPATIENT = RetryOptions(max_deliveries=2)


async def test_an_answer_for_a_version_that_is_not_here_is_never_given_up(server, services, log, caplog):
    services.silent.add("make-key")
    async with coordinating(server.url, LOAN_1, retries=IMPATIENT):
        older = await begin(services)
    before = await services.revision(older)

    async with coordinating(server.url, LOAN_2, retries=IMPATIENT):
        await answer_all(services)
        said = f"loan.{older} runs on version 1, which this coordinator does not have"
        await until(lambda: _put_off(caplog, said) > 4)
        assert (await log.end_of(await begin(services))).tokens[4] == "completed"
        assert await services.revision(older) == before

    async with coordinating(server.url, LOAN_1, LOAN_2, retries=IMPATIENT):
        assert (await log.end_of(older)).tokens[4] == "completed"
    assert await steps_told(log, older) == (1, ["make-key", "take-key-back"])
    assert services.steps_sent(older) == ["make-key", "take-key-back"]
    assert (await services.js.stream_info("KV_KEYS_DEAD_LETTERS")).state.messages == 0


async def test_who_orders_something_of_it_is_told_why_it_cannot_be_done(server, services, log):
    services.silent.add("make-key")
    async with coordinating(server.url, LOAN_1, retries=IMPATIENT):
        older = await begin(services)

    async with coordinating(server.url, LOAN_2, retries=IMPATIENT):
        order, command_id = CancelSaga(saga_id=older), str(new_id())
        await services.js.publish(
            str(subject_of(order)), order.model_dump_json().encode(), headers={"CIM-Command-Id": command_id}
        )
        refused = await log.last_event(f"keys.events.command.rejected.{command_id}")

    assert (refused.body["code"], refused.body["retryable"]) == ("unavailable", True)
    assert "runs on version 1, which this coordinator does not have" in refused.body["message"]


def _put_off(caplog, said):
    return sum("put off" in record.message and said in record.message for record in caplog.records)
