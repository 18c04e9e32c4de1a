"""The suite's NATS client on a real server, beside nats-py's own."""

import asyncio
from contextlib import asynccontextmanager
from unittest.mock import Mock, patch

import nats.errors
import nats.js.errors
import pytest

from shared.nats.client import Client, flush_subscriptions
from shared.process.subscriber import Source
from tests.support.consuming import subscribed
from tests.support.nats import connected, nats_server
from tests.support.waiting import until

LOG = Source(stream="LOG", durable="reader")


def own(url):
    return connected(url, client_class=Client)


@asynccontextmanager
async def two_clients(tmp_path):
    async with nats_server(tmp_path) as server, own(server.url) as ours, connected(server.url) as other:
        yield server, ours, other


async def test_each_of_many_requests_gets_its_own_answer(tmp_path):
    async with two_clients(tmp_path) as (_, ours, other):

        async def echo(message):
            await message.respond(message.data)

        await other.subscribe("echo", cb=echo)
        await flush_subscriptions(other)
        wanted = [str(number).encode() for number in range(500)]
        answers = await asyncio.gather(*(ours.request("echo", each, timeout=5) for each in wanted))
        assert [each.data for each in answers] == wanted


async def test_a_request_that_nobody_hears_is_told_so_at_once(tmp_path):
    async with two_clients(tmp_path) as (_, ours, _other):
        with pytest.raises(nats.errors.NoRespondersError):
            await ours.request("nobody", b"", timeout=30)


async def test_a_request_that_nobody_answers_ends(tmp_path):
    async with two_clients(tmp_path) as (_, ours, other):
        await other.subscribe("silent")
        await flush_subscriptions(other)
        with pytest.raises(TimeoutError):
            await ours.request("silent", b"", timeout=0.05)


async def test_what_is_published_arrives_whole_and_in_order(tmp_path):
    async with two_clients(tmp_path) as (_, ours, other):
        subscription = await other.subscribe("numbers", pending_bytes_limit=-1)
        await flush_subscriptions(other)
        for number in range(2000):
            await ours.publish("numbers", b"%d" % number + b"." * (number % 3000), headers={"Number": str(number)})
        heard = [await subscription.next_msg(timeout=5) for _ in range(2000)]
        assert [int(each.headers["Number"]) for each in heard] == list(range(2000))
        assert all(each.data == b"%d" % n + b"." * (n % 3000) for n, each in enumerate(heard))


async def test_what_does_not_concern_a_reader_is_acknowledged_unread(tmp_path):
    async with two_clients(tmp_path) as (_, ours, other):
        js = other.jetstream()
        await js.add_stream(name="LOG", subjects=["log.>"])
        await js.add_consumer("LOG", durable_name="reader", ack_policy="explicit")
        handled: list[str] = []

        async def handle(message):
            handled.append(message.subject)

        is_relevant = {"is_relevant": lambda message: message.subject.endswith("mine")}
        reader = await subscribed(ours, handle, source=LOG, ack_wait=30, limit=16, **is_relevant)
        await reader.start()
        for number in range(200):
            await js.publish("log.mine" if number % 50 == 0 else "log.others", b"")

        async def all_acknowledged():
            info = await js.consumer_info("LOG", "reader")
            return info.num_ack_pending == 0 and info.num_pending == 0 and info.ack_floor.stream_seq == 200

        await until(all_acknowledged)
        await reader.stop()
        assert handled == ["log.mine"] * 4


async def test_a_subject_with_white_space_in_it_stops_nobody(tmp_path):
    async with two_clients(tmp_path) as (server, ours, other):
        heard: list[str] = []

        async def hear(message):
            heard.append(message.subject)

        await ours.subscribe("keys.>", cb=hear)
        await flush_subscriptions(ours)
        host, port = server.url.removeprefix("nats://").split(":")
        _, raw = await asyncio.open_connection(host, int(port))
        raw.write(b'CONNECT {"verbose":false}\r\nPUB keys.\x0bx 2\r\nhi\r\n')
        await raw.drain()
        await until(lambda: asyncio.sleep(0, len(heard) == 1))
        await other.publish("keys.next", b"")
        await until(lambda: asyncio.sleep(0, len(heard) == 2))
        raw.close()
        assert heard == ["keys.\x0bx", "keys.next"]
        assert ours.stats["reconnects"] == 0


async def test_after_the_server_was_killed_requests_are_answered_and_messages_heard_again(tmp_path):
    async with nats_server(tmp_path) as server, own(server.url) as ours:
        js, heard = ours.jetstream(), set[bytes]()
        await js.add_stream(name="LOG", subjects=["log.>"])
        await js.add_consumer("LOG", durable_name="reader", ack_policy="explicit", ack_wait=1)

        async def handle(message):
            heard.add(message.data)

        reader = await subscribed(ours, handle, source=LOG, ack_wait=1, limit=16)
        await reader.start()
        await js.publish("log.a", b"before")
        await until(lambda: b"before" in heard)
        server.kill()
        await server.start()
        await until(lambda: ours.stats["reconnects"] == 1 and ours.is_connected)
        reader.forget_requests()

        async def published():
            try:
                await js.publish("log.a", b"after", timeout=1)
            except (nats.errors.Error, nats.js.errors.Error):
                return False
            return True

        await until(published)
        await until(lambda: b"after" in heard)
        await reader.stop()


async def test_a_server_that_is_left_by_several_readers_at_once_is_left_once(tmp_path):
    async with nats_server(tmp_path) as server, own(server.url) as ours:
        await ours.force_reconnect()
        assert ours.is_reconnecting
        next_connection = Mock()
        with patch.object(ours, "_transport", next_connection):
            await ours.force_reconnect()
        next_connection._io_writer.transport.abort.assert_not_called()  # noqa: SLF001 - nats-py's
        await until(lambda: ours.is_connected)
        assert ours.stats["reconnects"] == 1
