"""Dead letters: a poison message is rejected, stored once with its reason, and can be processed later."""

import asyncio
import json

import pytest
from nats.js.errors import NotFoundError

from services.saga.service import saga_service
from shared.errors import Poison
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from shared.process.host import Host
from shared.process.middlewares import RetryOptions
from shared.store.dead_letters import BUCKET, DeadLetters
from tests.integration.test_console import cim_keys
from tests.support.settings import saga_settings
from tests.support.waiting import until


@pytest.fixture(name="letters")
async def _letters(client):
    await declare(client)
    return DeadLetters(KeyValue(client.jetstream(), BUCKET))


async def all_of(letters):
    return [letter async for letter in letters.all()]


class Service:
    """One that fails at what it is given, until it does not."""

    def __init__(self, error, max_deliveries=12):
        self.error = error
        self.max_deliveries = max_deliveries
        self.handled = []
        self.given_up = 0

    async def handle(self, message):
        if self.error is not None:
            raise self.error
        self.handled.append((message.subject, message.data, message.metadata.sequence.stream))

    async def give_up(self, _):
        self.given_up += 1

    def app(self, url, durable):
        host = Host(url, durable, retries=RetryOptions(max_deliveries=self.max_deliveries))
        host.consume(durable, self.handle, self.give_up)
        return host.app


@pytest.mark.parametrize("durable", ["key", "views"])
async def test_poison_is_kept_once_and_handed_back_when_the_cause_is_gone(server, client, letters, durable):
    service = Service(Poison("its history is not readable"))
    app = service.app(server.url, durable)
    await app.start()
    subject = "keys.commands.key.generate" if durable == "key" else "keys.events.certificate.signed.1"
    await client.jetstream().publish(subject, b"{}")
    await until(lambda: _there_is_one(letters))
    (letter,) = await all_of(letters)
    assert (letter.subject, letter.reason, letter.consumer) == (subject, "its history is not readable", durable)
    assert service.given_up == 1

    refused = await client.request(f"$KEYS.{durable}.hand-back", letter.key.encode(), timeout=5)
    assert json.loads(refused.data) == {"processed": False, "problem": "its history is not readable"}
    assert len(await all_of(letters)) == 1
    service.error = None
    done = await client.request(f"$KEYS.{durable}.hand-back", letter.key.encode(), timeout=5)
    assert json.loads(done.data)["processed"] is True
    assert service.handled == [(subject, b"{}", letter.sequence)]
    assert await all_of(letters) == []
    again = await client.request(f"$KEYS.{durable}.hand-back", letter.key.encode(), timeout=5)
    assert "no such letter" in json.loads(again.data)["problem"]
    await app.stop()


async def test_what_was_tried_often_enough_is_kept_with_what_went_wrong_last(server, client, letters):
    service = Service(RuntimeError("a secret that a bug put into its text"), max_deliveries=2)
    app = service.app(server.url, "key")
    await app.start()
    await client.jetstream().publish("keys.commands.key.generate", b"{}")
    await until(lambda: _there_is_one(letters))
    (letter,) = await all_of(letters)

    assert letter.reason == "tried 2 times; the last time: RuntimeError"
    assert service.given_up == 1
    info = await client.jetstream().consumer_info("KEYS_COMMANDS", "key")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)  # it does not loop
    await app.stop()


async def test_an_operator_looks_at_letters_and_asks_again_or_drops_them(server, client, letters):
    service = Service(Poison("gone wrong"))
    app = service.app(server.url, "saga")
    await app.start()
    for body in (b'{"organization": "hunter2"}', b"no JSON", b"{}"):
        await client.jetstream().publish("keys.commands.saga.pki-bootstrap.start", body)
    await client.jetstream().publish(
        "keys.commands.saga.cancel", b"{}", headers={"CIM-Saga-Id": "x", "CIM-Saga-Type": "y"}
    )
    await until(lambda: _there_are(letters, 4))
    await app.stop()
    async with asyncio.timeout(60):
        status, out, _ = await cim_keys(server.url, "dead-letters", "list")
        assert (status, out.count("gone wrong"), "hunter2" in out) == (0, 4, False)
        one, no_json, other, of_saga = sorted(await all_of(letters), key=lambda letter: letter.sequence)
        _, shown, _ = await cim_keys(server.url, "dead-letters", "show", one.key)
        _, body, _ = await cim_keys(server.url, "dead-letters", "show", one.key, "--body")
        assert ("hunter2" in shown, "hunter2" in body) == (False, True)

        running = saga_service(saga_settings(server.url))
        await running.start()
        status, out, _ = await cim_keys(server.url, "dead-letters", "replay", other.key)
        assert (status, "invalid" in out) == (1, True)  # it is processed now, and answered: the fields are missing
        assert "not JSON" in (await cim_keys(server.url, "dead-letters", "replay", no_json.key))[2]
        assert "saga.retry" in (await cim_keys(server.url, "dead-letters", "replay", of_saga.key))[2]
        await running.stop()
        for letter in (one, no_json, other, of_saga):
            assert (await cim_keys(server.url, "dead-letters", "drop", letter.key))[0] == 0
        assert await all_of(letters) == []
        assert "there is no dead letter" in (await cim_keys(server.url, "dead-letters", "drop", one.key))[2]
    with pytest.raises(NotFoundError):
        await client.jetstream().get_msg(f"KV_{BUCKET}", subject=f"$KV.{BUCKET}.{one.key}")


async def _there_is_one(letters):
    return await _there_are(letters, 1)


async def _there_are(letters, number):
    return len(await all_of(letters)) == number
