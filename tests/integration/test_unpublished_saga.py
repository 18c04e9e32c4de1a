"""A saga whose events are in no published contract, on a real server: one file is enough."""

import json

from services.key.service import key_service
from services.saga.core.definition import Definition, Step, child
from services.saga.definitions.parts import key_undone
from shared.contracts.base import Name
from shared.contracts.key.commands import GenerateKey
from shared.contracts.key.events import KeyGenerated
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import Completed, StartSaga
from shared.messages.ids import new_id
from tests.kit.example.lent_key import LENT_KEY
from tests.support.device_client import RECIPIENT
from tests.support.fake_services import coordinating
from tests.support.settings import key_settings


class StartKeyForSomebody(StartSaga):
    owner: Name


class KeyForSomebodyCompleted(Completed):
    owner: Name


class StartKeysForTwo(StartSaga):
    pass


def make_key(saga):
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256, owner=saga.request.owner)


def for_ada(saga):
    return StartKeyForSomebody(saga_id=saga.id_of("ada"), owner="ada")


def told(saga) -> KeyForSomebodyCompleted:
    return KeyForSomebodyCompleted(**saga.heading, owner=saga.request.owner)


UNDO = key_undone(lambda saga: saga.id_of("key"), "undone")
ONE = Definition("key-for-somebody", StartKeyForSomebody, (Step(make_key, KeyGenerated, undo=UNDO),), completed=told)
TWO = Definition("keys-for-two", StartKeysForTwo, (child(for_ada, KeyForSomebodyCompleted),))


async def test_it_is_begun_by_its_subject_and_says_its_own_words_in_the_end(server, services, log):
    saga_id = str(new_id())
    async with coordinating(server.url, ONE):
        body = json.dumps({"saga_id": saga_id, "owner": "ada"}).encode()
        await services.js.publish("keys.commands.saga.key-for-somebody.start", body)

        end = await log.end_of(saga_id)

    assert end.subject == f"keys.events.saga.key-for-somebody.completed.{saga_id}"
    assert (end.headers["CIM-Event-Type"], end.body["owner"]) == ("KeyForSomebodyCompleted", "ada")


async def test_what_is_wrong_with_its_request_is_said(server, services, log):
    async with coordinating(server.url, ONE):
        await services.js.publish("keys.commands.saga.key-for-somebody.start", b'{"who": "ada"}')

        rejected = await log.last_event("keys.events.command.rejected.*")

    assert (rejected.body["code"], rejected.body["command_type"]) == ("invalid", "StartKeyForSomebody")


async def test_the_one_that_the_guide_shows_does_what_it_says(server, log):
    saga_id, keys = str(new_id()), key_service(key_settings(server.url, passphrase="correct horse battery"))
    await keys.start()
    async with coordinating(server.url, LENT_KEY):
        await log.start_saga("lent-key", saga_id, recipient_public_key=RECIPIENT)
        await log.last_event(f"keys.events.saga.lent-key.waiting.approval.{saga_id}")
        await log.publish("saga.signal", {"saga_id": saga_id, "signal": "approve"}, {"CIM-Actor": "bob"})

        await log.last_event(f"keys.events.saga.lent-key.step.hand-over.{saga_id}")
    await keys.stop()

    made, handed_over = [event.body for event in await log.events("keys.events.key.>")]
    assert (handed_over["key_id"], handed_over["recipient_public_key"]) == (made["key_id"], RECIPIENT)


async def test_it_is_another_s_child_also_across_a_restart(server, services, log):
    saga_id = str(new_id())
    services.silent.add("make-key")
    async with coordinating(server.url, ONE, TWO):
        await services.start(StartKeysForTwo(saga_id=saga_id))
        await log.last_event("keys.events.saga.key-for-somebody.started.*")
    services.silent.clear()
    for told_before in services.unanswered:
        await services.answer(told_before)
    async with coordinating(server.url, ONE, TWO):
        end = await log.end_of(saga_id)

    assert (end.tokens[4], end.headers["CIM-Event-Type"]) == ("completed", "Completed")
