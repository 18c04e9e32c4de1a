"""Direct gets: messages of a stream, read by subject in one request."""

import pytest

from shared.errors import Transient
from shared.nats.direct_get import get_last, get_last_of_each, get_next
from shared.nats.streams import declare


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    js = client.jetstream()
    for subject, data in (("a.1", b"first"), ("b.1", b"other"), ("a.1", b"second"), ("a.2", b"")):
        await js.publish(f"$KV.KEYS_VIEWS.{subject}", data, headers={"Of": subject})
    return js


def short(found):
    return [(stored.subject.removeprefix("$KV.KEYS_VIEWS."), stored.data, stored.sequence) for stored in found]


async def test_the_last_on_a_subject_with_its_headers_and_its_time(client, js):
    stored = await get_last(client, "KV_KEYS_VIEWS", "$KV.KEYS_VIEWS.a.1")

    same = await js.get_msg("KV_KEYS_VIEWS", subject="$KV.KEYS_VIEWS.a.1")
    assert short([stored]) == [("a.1", b"second", 3)]
    assert stored.headers["Of"] == "a.1"
    assert stored.at == same.time


async def test_an_empty_message_is_a_message_and_none_is_none(client, js):  # noqa: ARG001 - what is there
    assert (await get_last(client, "KV_KEYS_VIEWS", "$KV.KEYS_VIEWS.a.2")).data == b""
    assert await get_last(client, "KV_KEYS_VIEWS", "$KV.KEYS_VIEWS.a.3") is None


async def test_the_last_of_each_in_the_streams_order(client, js):  # noqa: ARG001 - what is there
    found = await get_last_of_each(client, "KV_KEYS_VIEWS", ["$KV.KEYS_VIEWS.a.*", "$KV.KEYS_VIEWS.b.1"])

    assert short(found) == [("b.1", b"other", 2), ("a.1", b"second", 3), ("a.2", b"", 4)]
    assert await get_last_of_each(client, "KV_KEYS_VIEWS", ["$KV.KEYS_VIEWS.c.*"]) == []


async def test_five_hundred_in_one_request(client, js):
    for number in range(500):
        await js.publish(f"$KV.KEYS_VIEWS.many.{number}", b"x" * 2000)

    found = await get_last_of_each(client, "KV_KEYS_VIEWS", [f"$KV.KEYS_VIEWS.many.{number}" for number in range(500)])

    assert [stored.sequence for stored in found] == list(range(5, 505))


async def test_one_after_the_other(client, js):  # noqa: ARG001 - what is there
    first = await get_next(client, "KV_KEYS_VIEWS", "$KV.KEYS_VIEWS.b.1", 0)

    assert short([first]) == [("b.1", b"other", 2)]
    assert await get_next(client, "KV_KEYS_VIEWS", "$KV.KEYS_VIEWS.b.1", 2) is None


async def test_a_stream_that_is_not_there_may_come(client):
    for ask in (get_last(client, "KV_NONE", "$KV.NONE.x"), get_last_of_each(client, "KV_NONE", ["$KV.NONE.x"])):
        with pytest.raises(Transient):
            await ask
