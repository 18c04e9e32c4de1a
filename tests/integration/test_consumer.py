"""The durable consumer: no message is lost and no loop spins, despite failing handlers, servers and stops."""

import asyncio
import signal
from collections import Counter

import pytest
from faststream.nats import TestNatsBroker
from nats.aio.msg import Msg

from shared.errors import Conflict, Poison, Transient
from shared.nats.client import Client
from shared.nats.streams import declare, declare_consumer
from shared.process.middlewares import RetryOptions
from tests.support.consuming import ConnectedBroker, never, reading, subscribed
from tests.support.nats import connected
from tests.support.waiting import until

SUBJECT = "keys.commands.key.generate"


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    await declare_consumer(client, "key")
    return client.jetstream()


def _impatient(max_deliveries):
    """Delays of milliseconds, so that many deliveries take no time."""
    return RetryOptions(max_deliveries=max_deliveries, max_delay_s=0.01)


async def _tell(js, *bodies):
    await asyncio.gather(*(js.publish(SUBJECT, str(body).encode()) for body in bodies))


async def _there_are_left(js, number):
    """The server counts an acknowledgement a moment after it was sent."""
    return await _left(js) == number


async def _left(js):
    return (await js.stream_info("KEYS_COMMANDS")).state.messages


async def _all_acknowledged(js, within=10):
    async def nothing_left():
        return await _left(js) == 0

    await until(nothing_left, within)


async def test_every_message_is_handled_once(client, js):
    handled = Counter()

    async def handle(message):
        handled[message.data] += 1

    for start in range(0, 3000, 500):
        await _tell(js, *range(start, start + 500))
    async with reading(client, handle):
        await _all_acknowledged(js)

    assert handled == Counter(str(body).encode() for body in range(3000))


async def test_messages_that_come_while_it_reads_are_handled_too(client, js):
    handled = Counter()

    async def handle(message):
        handled[message.data] += 1

    async with reading(client, handle, limit=8):
        for start in range(0, 300, 100):
            await _tell(js, *range(start, start + 100))
        await _all_acknowledged(js)

    assert handled == Counter(str(body).encode() for body in range(300))


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_no_more_is_in_hand_than_the_limit(client, js, limit):
    in_hand, most = 0, 0

    async def handle(_):
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        await asyncio.sleep(0.01)
        in_hand -= 1

    await _tell(js, *range(60))
    async with reading(client, handle, limit=limit, ack_wait=0.3):
        await asyncio.sleep(0.3)
        await _all_acknowledged(js)

    assert most == limit


@pytest.mark.parametrize("error", [Transient("not yet"), Conflict("moved on"), TimeoutError(), ConnectionError()])
async def test_what_the_world_was_not_ready_for_comes_again_and_holds_nobody_up(client, js, error):
    seen, order = Counter(), []

    async def handle(message):
        seen[message.data] += 1
        if message.data == b"0" and seen[b"0"] < 3:
            raise error
        order.append(message.data)

    await _tell(js, 0)
    await _tell(js, *range(1, 50))
    async with reading(client, handle):
        await _all_acknowledged(js)

    assert seen == Counter({b"0": 3} | {str(body).encode(): 1 for body in range(1, 50)})
    assert order[-1] == b"0"


@pytest.mark.parametrize("error", [ValueError, RecursionError])
async def test_a_handler_that_always_fails_does_not_spin(client, js, error):
    deliveries = 0

    async def handle(_):
        nonlocal deliveries
        deliveries += 1
        raise error("always")

    await _tell(js, "poison")
    async with reading(client, handle):
        await asyncio.sleep(1)

    assert 2 <= deliveries <= 6


async def test_poison_is_given_up_at_once(client, js):
    tried, given_up = [], []

    async def handle(message):
        tried.append(message.data)
        raise Poison("never")

    async def give_up(message):
        given_up.append(message.data)

    await _tell(js, "poison")
    async with reading(client, handle, give_up):
        await _all_acknowledged(js, within=1)

    assert tried == given_up == [b"poison"]


async def test_poison_that_cannot_be_given_up_yet_is_retried_like_anything_else(client, js):
    given_up = []

    async def handle(_):
        raise Poison("never")

    async def give_up(message):
        given_up.append(message.data)
        if len(given_up) < 3:
            raise ConnectionError

    await _tell(js, "poison")
    async with reading(client, handle, give_up):
        await _all_acknowledged(js, within=2)

    assert given_up == [b"poison"] * 3


async def test_what_was_tried_too_often_is_given_up_and_gone(client, js):
    tried, given_up = [], []

    async def handle(message):
        tried.append(message.data)
        raise ValueError("always")

    async def give_up(message):
        given_up.append(message.data)

    await _tell(js, "poison")
    async with reading(client, handle, give_up, retries=_impatient(max_deliveries=3)):
        await _all_acknowledged(js)

    assert tried == [b"poison"] * 3
    assert given_up == [b"poison"]


async def test_what_cannot_be_given_up_yet_is_retried_until_it_can(client, js):
    given_up = []

    async def handle(_):
        raise Transient("always")

    async def give_up(message):
        given_up.append(message.data)
        if len(given_up) < 4:
            raise ConnectionError

    await _tell(js, "poison")
    async with reading(client, handle, give_up, retries=_impatient(max_deliveries=1)):
        await _all_acknowledged(js)

    assert len(given_up) == 4


async def test_what_was_tried_a_million_times_can_still_be_put_off(client):
    asked = []

    class Listening(Client):
        async def publish(self, _subject, payload=b"", *_, **__):
            asked.append(payload)

    message = Msg(_client=Listening(), subject=SUBJECT, reply="$JS.ACK.KEYS_COMMANDS.key.1000000.1.1.1.0")
    broker = ConnectedBroker(client)
    consumer = await subscribed(client, never, broker=broker)
    async with TestNatsBroker(broker):  # no server delivers a million times within a test
        await consumer.process_message(message)

    assert [payload[:4] for payload in asked] == [b"-NAK"]


async def test_stopping_finishes_what_is_in_hand_and_takes_no_more(client, js):
    begun, finished = set(), set()

    async def handle(message):
        begun.add(message.data)
        await asyncio.sleep(0.2)
        finished.add(message.data)

    await _tell(js, *range(40))
    async with reading(client, handle, limit=10):
        await until(lambda: len(begun) == 10)

    assert len(begun) == 10
    assert finished == begun
    await until(lambda: _there_are_left(js, 30))


async def test_what_takes_long_to_finish_while_stopping_is_given_to_nobody_else(server, client, js):
    handled = Counter()

    async def handle(message):
        handled[message.data] += 1
        await asyncio.sleep(2.5)

    consumer = await js.consumer_info("KEYS_COMMANDS", "key")
    consumer.config.ack_wait = 1
    await js.add_consumer("KEYS_COMMANDS", consumer.config)
    await _tell(js, "long")
    async with connected(server.url, client_class=Client) as another:
        one = await subscribed(client, handle, ack_wait=1)
        await one.start()
        await until(lambda: handled)
        async with reading(another, handle, ack_wait=1):
            await one.stop()

    assert handled == {b"long": 1}
    await until(lambda: _there_are_left(js, 0))


async def test_what_does_not_finish_in_time_is_handed_back_at_once(server, client, js):
    begun, done = [], []

    async def stuck(message):
        begun.append(message.data)
        await asyncio.Event().wait()

    async def handle(message):
        done.append(message.data)

    consumer = await subscribed(client, stuck, grace_s=0.05)
    await consumer.start()
    await _tell(js, *range(20))
    await until(lambda: len(begun) == 20)
    await consumer.stop()

    async with connected(server.url, client_class=Client) as another, reading(another, handle):
        await until(lambda: len(done) == 20, within=2)

    assert sorted(done) == sorted(begun)


async def test_what_a_stopped_process_leaves_another_takes_up(server, client, js):
    handled = Counter()

    async def handle(message):
        handled[message.data] += 1
        await asyncio.sleep(0.001)

    await _tell(js, *range(1000))
    async with connected(server.url, client_class=Client) as another:
        async with reading(client, handle, limit=64):
            await until(lambda: len(handled) > 200)
        async with reading(another, handle, limit=64):
            await _all_acknowledged(js)

    assert handled.keys() == {str(body).encode() for body in range(1000)}


async def test_what_takes_longer_than_the_acknowledgement_may_is_not_given_out_twice(client, js):
    consumer = await js.consumer_info("KEYS_COMMANDS", "key")
    consumer.config.ack_wait = 1
    await js.add_consumer("KEYS_COMMANDS", consumer.config)
    handled = []

    async def handle(message):
        handled.append(message.data)
        await asyncio.sleep(2)

    await _tell(js, "long")
    async with reading(client, handle, ack_wait=1):
        await _all_acknowledged(js)

    assert handled == [b"long"]


async def test_requests_that_expire_are_made_again(client, js):
    # the server wants heartbeats more often than twice before a request expires
    handled = []

    async def handle(message):
        handled.append(message.data)

    async with reading(client, handle, ack_wait=30, expires_s=0.1, heartbeat_s=0.04):
        await asyncio.sleep(0.5)
        await _tell(js, "late")
        await _all_acknowledged(js, within=2)

    assert handled == [b"late"]


async def test_it_goes_on_after_the_server_was_killed_and_came_back(server, client, js):
    handled = Counter()

    async def handle(message):
        handled[message.data] += 1
        await asyncio.sleep(0.001)

    await _tell(js, *range(300))
    async with reading(client, handle, limit=16, ack_wait=1.0) as consumer:
        await until(lambda: len(handled) > 50)
        server.kill()
        await server.start()
        await until(lambda: client.is_connected)
        consumer.forget_requests()
        await _all_acknowledged(js, within=20)

    assert handled.keys() == {str(body).encode() for body in range(300)}


async def _raw(server, command):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + command + b"PING\r\n")
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.usefixtures("js")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(b"PUB keys.commands.key.\xff\xfe 2\r\n{}\r\n", id="a subject that is no UTF-8"),
        pytest.param(b"HPUB keys.commands.key.generate 8 10\r\nNATS/1.0{}\r\n", id="a header block that is cut off"),
        pytest.param(
            b"HPUB keys.commands.key.generate 17 19\r\nNATS/1.0 \xff\xff\xff \r\n\r\n{}\r\n", id="a status that is none"
        ),
    ],
)
async def test_no_message_that_somebody_can_publish_makes_it_deaf(server, client, command):
    handled = []

    async def handle(message):
        handled.append(message.data)

    async with reading(client, handle):
        await _raw(server, command)
        async with connected(server.url, client_class=Client) as another:
            await another.jetstream().publish(SUBJECT, b"after")
            await _all_acknowledged(another.jetstream(), within=3)

    assert handled == [b"{}", b"after"]


def _hasty(left):
    """Leaves a server after a second of silence, and notes it in *left*; heartbeats come each fifth of one."""

    async def force_reconnect(client):
        left.append(client)

    return {"heartbeat_s": 0.2, "repull_after_s": 0.6, "reconnect_after_s": 1.0, "on_silence": force_reconnect}


async def test_a_server_that_is_asked_nothing_because_all_is_in_hand_is_not_left(client, js):
    held, done, left = asyncio.Event(), [], []

    async def hold(message):
        await held.wait()
        done.append(message)

    async with reading(client, hold, ack_wait=0.9, limit=2, **_hasty(left)):
        await _tell(js, *range(6))
        await asyncio.sleep(2.5)
        assert left == []
        held.set()
        await until(lambda: len(done) >= 6)
        await asyncio.sleep(1.5)
        assert left == []


async def test_a_server_that_has_nothing_to_say_for_long_is_not_left(client, js):  # noqa: ARG001 - streams
    left = []
    async with reading(client, never, ack_wait=0.3, **_hasty(left)):
        await asyncio.sleep(3)
    assert left == []


async def test_who_stops_and_finishes_what_is_in_hand_does_not_leave_the_server_meanwhile(client, js):
    began, left = asyncio.Event(), []

    async def take_long(_):
        began.set()
        await asyncio.sleep(2.5)

    async with reading(client, take_long, ack_wait=0.6, **_hasty(left)):
        await _tell(js, 1)
        await began.wait()
    assert left == []
    assert await _left(js) == 0


async def test_a_server_that_is_stopped_in_its_tracks_is_left(server, client, js):  # noqa: ARG001 - streams
    left = []
    async with reading(client, never, ack_wait=0.3, **_hasty(left)):
        await asyncio.sleep(0.5)
        server._process.send_signal(signal.SIGSTOP)  # noqa: SLF001 - as nothing else does it
        try:
            await until(lambda: left != [], within=4)
        finally:
            server._process.send_signal(signal.SIGCONT)  # noqa: SLF001 - as nothing else does it
