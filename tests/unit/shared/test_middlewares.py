"""The middlewares of a durable consumer and their order, over FastStream's TestNatsBroker: no server, no stream."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
from faststream.nats import TestNatsBroker
from nats.aio.msg import Msg

from shared.errors import Conflict, Poison, Transient
from shared.nats.connection import ANONYMOUS
from shared.process.broker import ServiceBroker
from shared.process.middlewares import DeadLetterPolicy, RejectionMiddleware, RetryOptions, delivery_middlewares
from shared.process.subscriber import PullOptions, Source

SUBJECT = "keys.commands.key.generate"
SOURCE = Source(stream="KEYS_COMMANDS", durable="key", subjects=("keys.commands.key.>",))


class Client:
    """In a connection's place: notes acknowledgements."""

    def __init__(self):
        self.sent = []

    async def publish(self, _subject, payload=b"", **_):
        self.sent.append(payload.split(b" ")[0])


class Consumer:
    """A subscriber whose handler and callbacks note what they are given."""

    def __init__(self, error=None, *, carried_out=False):
        self.error, self.carried_out = error, carried_out
        self.handled, self.given_up, self.stored, self.client = [], [], [], Client()
        policy = DeadLetterPolicy(self._give_up, self._store)
        middlewares = delivery_middlewares("key", policy, RetryOptions(max_deliveries=3), observed=False)
        self.broker = ServiceBroker("nats://127.0.0.1:1", "key", ANONYMOUS)
        reject = partial(RejectionMiddleware, reject=self._reject)
        self.subscriber = self.broker.pull_subscriber(SOURCE, PullOptions(ack_wait_s=4), [*middlewares, reject])

    @asynccontextmanager
    async def running(self):
        self.handler = self.subscriber(self._handle)
        async with TestNatsBroker(self.broker) as broker:
            self.publish = partial(broker.publish, subject=SUBJECT, reply_to=delivered(1))
            yield self

    async def _handle(self, message):
        self.handled.append(message.data)
        if self.error is not None:
            raise self.error

    async def _give_up(self, message):
        self.given_up.append(message.data)
        return self.carried_out

    async def _store(self, message, reason):
        self.stored.append((message.data, reason))

    async def _reject(self, message):
        return message.data == b"rubbish"


async def receive(consumer, body=b"{}", *, delivery=1):
    """Processes a message of the stream, and returns what has been acknowledged so far: an ack is empty."""
    await consumer.subscriber.process_message(Msg(consumer.client, SUBJECT, delivered(delivery), body))
    return consumer.client.sent


def delivered(times):
    return f"$JS.ACK.KEYS_COMMANDS.key.{times}.7.7.1700000000000000000.0"


async def test_what_is_published_reaches_the_handler():
    async with Consumer().running() as consumer:
        await consumer.publish(b"{}")
        consumer.handler.mock.assert_called_once()
    assert consumer.handled == [b"{}"]


async def test_what_cannot_be_read_is_rejected_before_the_handler_and_is_no_dead_letter():
    async with Consumer().running() as consumer:
        await consumer.publish(b"rubbish")
        consumer.handler.mock.assert_not_called()
    assert (consumer.handled, consumer.given_up, consumer.stored) == ([], [], [])


@pytest.mark.parametrize("body", [b"{}", b"rubbish"])
async def test_what_is_handled_or_rejected_is_acknowledged(body):
    consumer = Consumer()
    async with consumer.running():
        assert await receive(consumer, body) == [b""]


async def test_what_no_handler_takes_is_a_nak():
    consumer = Consumer()
    async with TestNatsBroker(consumer.broker):
        assert await receive(consumer) == [b"-NAK"]


@pytest.mark.parametrize("error", [Transient("away"), Conflict("moved on"), TimeoutError(), ValueError("a bug")])
async def test_an_error_is_a_nak_with_a_delay_and_no_dead_letter(error):
    consumer = Consumer(error)
    async with consumer.running():
        assert await receive(consumer) == [b"-NAK"]
    assert consumer.given_up == []


async def test_poison_is_answered_then_stored_then_acknowledged():
    consumer = Consumer(Poison("no key"))
    async with consumer.running():
        assert await receive(consumer) == [b""]
    assert (consumer.given_up, consumer.stored) == ([b"{}"], [(b"{}", "no key")])


async def test_after_its_last_delivery_a_message_is_stored_with_its_last_error_and_not_handled():
    consumer = Consumer(Transient("away"))
    async with consumer.running():
        assert await receive(consumer, delivery=3) == [b"-NAK"]
        assert await receive(consumer, delivery=4) == [b"-NAK", b""]
    assert (consumer.handled, consumer.stored) == ([b"{}"], [(b"{}", "tried 3 times; the last time: away")])


async def test_what_was_carried_out_after_all_is_no_dead_letter():
    consumer = Consumer(Poison("late"), carried_out=True)
    async with consumer.running():
        assert await receive(consumer) == [b""]
    assert consumer.stored == []
