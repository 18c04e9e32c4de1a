"""The command service: one outcome a command, despite duplicates, delays, disorder and malformed messages."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from shared.messages.ids import new_id
from shared.nats.streams import declare, declare_consumer
from shared.store.event_store import MAX_COMMAND_IDS
from shared.store.replies import Replies
from tests.support.consuming import reading
from tests.support.ledger import ledger_service
from tests.support.waiting import until

GENERATE, REVOKE = "keys.commands.key.generate", "keys.commands.key.revoke"


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    await declare_consumer(client, "key")
    return client.jetstream()


@asynccontextmanager
async def _serving(client, service):
    async with reading(client, service.handle, service.give_up):
        yield


@pytest.fixture(name="service")
async def _service(client, js):
    service = ledger_service(js)
    async with _serving(client, service):
        yield service


async def _tell(js, subject, body=None, *, command_id=None, message_id=None, **headers):
    """Publish a command, and wait until it is answered or found to be the copy of one."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if command_id is not None:
        sent["CIM-Command-Id"] = str(command_id)
    if message_id is not None:
        sent["Nats-Msg-Id"] = str(message_id)
    payload = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    await js.publish(subject, payload, headers=sent)
    await _quiet(js)


async def _quiet(js, within=10):
    async def nothing_left():
        return (await js.stream_info("KEYS_COMMANDS")).state.messages == 0

    await until(nothing_left, within)


async def _events(js):
    """Every event there is, in order: its kind (`key.generated`, `command.rejected`) and its body."""
    last = (await js.stream_info("KEYS_EVENTS")).state.last_seq
    messages = [await js.get_msg("KEYS_EVENTS", seq) for seq in range(1, last + 1)]
    return [(".".join(message.subject.split(".")[2:4]), json.loads(message.data)) for message in messages]


async def _kinds(js):
    return [kind for kind, _ in await _events(js)]


async def _rejection(js):
    rejections = [body for kind, body in await _events(js) if kind == "command.rejected"]
    assert len(rejections) == 1, rejections
    return rejections[0]


def _long_ago(**ago):
    """A version 7 id as it was drawn then."""
    milliseconds = int((datetime.now(UTC) - timedelta(**ago)).timestamp() * 1000)
    return UUID(int=milliseconds << 80 | new_id().int & ((1 << 80) - 1))


def _id_of(kind):
    match kind:
        case "young":
            return new_id()
        case "old":
            return _long_ago(hours=1)
        case "ahead":
            return _long_ago(hours=-1)
        case "of the year 10889":
            return UUID(int=new_id().int | ((1 << 48) - 1) << 80)
    return uuid4()


each_kind_of_id = pytest.mark.parametrize("kind", ["young", "old", "random", "ahead", "of the year 10889"])


@pytest.mark.usefixtures("service")
async def test_a_command_needs_no_header(js):
    await _tell(js, GENERATE, b'{"algorithm":"ec-p256"}')

    [(kind, body)] = await _events(js)
    assert kind == "key.generated"
    assert body["algorithm"] == "ec-p256"


@pytest.mark.usefixtures("service")
async def test_an_event_tells_who_asked_and_what_caused_it(js):
    command_id, correlation, saga = new_id(), new_id(), new_id()
    headers = {"CIM-Correlation-Id": str(correlation), "CIM-Actor": "Jürgen", "CIM-Saga-Id": str(saga)}

    await _tell(js, GENERATE, {"algorithm": "ec-p256"}, command_id=command_id, traceparent="00-1-2-01", **headers)

    told = (await js.get_msg("KEYS_EVENTS", 1)).headers
    assert told["CIM-Causation-Id"] == str(command_id)
    assert told["CIM-Correlation-Id"] == str(correlation)
    assert told["CIM-Saga-Id"] == str(saga)
    assert told["CIM-Source"] == "key"
    assert told["traceparent"] == "00-1-2-01"


@pytest.mark.usefixtures("service")
@each_kind_of_id
@pytest.mark.parametrize("message_id", [None, "the same", "another"])
async def test_a_command_told_twice_leads_to_one_event(js, kind, message_id):
    command_id, key_id = _id_of(kind), str(new_id())
    await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})
    for time in range(3):
        told = {None: None, "the same": "same", "another": f"{time}"}[message_id]
        await _tell(js, REVOKE, {"key_id": key_id}, command_id=command_id, message_id=told)

    assert await _kinds(js) == ["key.generated", "key.revoked"]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "kind",
    [
        "young",
        "old",
        "random",
        "ahead",
    ],
)
async def test_a_command_that_was_refused_stays_refused(js, kind):
    command_id, key_id = _id_of(kind), str(new_id())
    for time in range(3):
        await _tell(js, REVOKE, {"key_id": key_id}, command_id=command_id, message_id=str(time))
    await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})
    await _tell(js, REVOKE, {"key_id": key_id}, command_id=command_id, message_id="late")

    assert await _kinds(js) == ["command.rejected", "key.generated"]


@each_kind_of_id
async def test_a_command_told_again_to_a_process_that_remembers_nothing_leads_to_one_event(client, js, kind):
    command_id, key_id = _id_of(kind), str(new_id())
    for time in range(3):
        async with _serving(client, ledger_service(js)):
            await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"}, message_id=f"generate {time}")
            await _tell(js, REVOKE, {"key_id": key_id}, command_id=command_id, message_id=f"revoke {time}")

    assert [kind for kind in await _kinds(js) if kind.startswith("key.")] == ["key.generated", "key.revoked"]


@pytest.mark.parametrize("remembering", [True, False])
@pytest.mark.parametrize("kind", ["old", "random", "ahead"])
async def test_a_command_that_was_forgotten_is_still_not_carried_out_again(client, js, kind, remembering):
    command_id, key_id = _id_of(kind), str(new_id())
    service = ledger_service(js)
    async with _serving(client, service):
        await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})
        await _tell(js, REVOKE, {"key_id": key_id, "reason": "once"}, command_id=command_id)
        others = (js.publish(REVOKE, json.dumps({"key_id": key_id}).encode()) for _ in range(MAX_COMMAND_IDS + 5))
        await asyncio.gather(*others)
        await _quiet(js)
    await asyncio.sleep(0.01)
    await _only_the_derived_id_can_tell(js)

    async with _serving(client, service if remembering else ledger_service(js)):
        await _tell(js, REVOKE, {"key_id": key_id, "reason": "once"}, command_id=command_id, message_id="again")

    assert [body["reason"] for kind, body in await _events(js) if kind == "key.revoked"].count("once") == 1


async def _only_the_derived_id_can_tell(js):
    """Let the window pass in which the stream itself recognises a copy."""
    config = (await js.stream_info("KEYS_EVENTS")).config
    config.duplicate_window = 0.1
    await js.update_stream(config)
    await asyncio.sleep(0.3)


@pytest.mark.usefixtures("service")
async def test_after_the_window_a_copy_leads_to_nothing_new_either(js):
    command_id, key_id = new_id(), str(new_id())
    body = {"key_id": key_id, "algorithm": "ec-p256"}
    await _tell(js, GENERATE, body, command_id=command_id)
    await _tell(js, REVOKE, {"key_id": key_id, "reason": "nothing new"}, command_id=(repeated := new_id()))
    await _only_the_derived_id_can_tell(js)

    await _tell(js, GENERATE, body, command_id=command_id, message_id="again")
    await _tell(js, REVOKE, {"key_id": key_id, "reason": "nothing new"}, command_id=repeated, message_id="again, too")

    assert await _kinds(js) == ["key.generated", "command.repeated"]


async def test_a_refusal_decided_on_old_knowledge_is_decided_again(client, js):
    key_id, one, other = str(new_id()), ledger_service(js), ledger_service(js)
    async with _serving(client, one):
        await _tell(js, REVOKE, {"key_id": key_id}, command_id=(refused := new_id()))  # now it believes there is none
    async with _serving(client, other):
        await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})

    async with _serving(client, one):
        await _tell(js, REVOKE, {"key_id": key_id})

    assert await _kinds(js) == ["command.rejected", "key.generated", "key.revoked"]
    assert (await _rejection(js))["command_id"] == str(refused)


async def test_an_event_decided_on_old_knowledge_is_decided_again(client, js):
    key_id, one, other = str(new_id()), ledger_service(js), ledger_service(js)
    async with _serving(client, one):
        await _tell(js, REVOKE, {"key_id": key_id})  # now it believes there is none
    async with _serving(client, other):
        await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})

    async with _serving(client, one):
        await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ed25519"})

    events = await _events(js)
    assert [kind for kind, _ in events] == ["command.rejected", "key.generated", "command.rejected"]
    assert events[-1][1]["code"] == "conflict"


async def test_two_processes_at_one_aggregate_answer_every_command_once(client, js):
    key_id, commands = str(new_id()), [new_id() for _ in range(150)]
    async with AsyncExitStack() as serving:
        await serving.enter_async_context(_serving(client, ledger_service(js)))
        await serving.enter_async_context(_serving(client, ledger_service(js)))
        await _tell(js, GENERATE, {"key_id": key_id, "algorithm": "ec-p256"})
        telling = [
            js.publish(
                REVOKE,
                json.dumps({"key_id": key_id, "reason": str(c)}).encode(),
                headers={"CIM-Command-Id": str(c)},
            )
            for c in commands
            for _ in range(2)
        ]
        await asyncio.gather(*telling)
        await _quiet(js, within=30)

    reasons = [body["reason"] for kind, body in await _events(js) if kind == "key.revoked"]
    assert sorted(reasons) == sorted(map(str, commands))


@pytest.mark.usefixtures("service")
async def test_the_commands_of_one_aggregate_are_answered_in_order(js):
    keys = [str(new_id()) for _ in range(5)]
    for key_id in keys:
        await js.publish(GENERATE, json.dumps({"key_id": key_id, "algorithm": "ec-p256"}).encode())
    for turn in range(40):
        for key_id in keys:
            await js.publish(REVOKE, json.dumps({"key_id": key_id, "reason": str(turn)}).encode())
    await _quiet(js)

    events = await _events(js)
    for key_id in keys:
        kinds = [(kind, body.get("reason")) for kind, body in events if body.get("key_id") == key_id]
        assert kinds == [("key.generated", None), *(("key.revoked", str(turn)) for turn in range(40))]


BAD = [  # subject, body, headers, code, word
    pytest.param((GENERATE, b"", {}, "malformed", "JSON"), id="empty"),
    pytest.param((GENERATE, b"{", {}, "malformed", "JSON"), id="no JSON"),
    pytest.param((GENERATE, b"\xff", {}, "malformed", "UTF-8"), id="no UTF-8"),
    pytest.param((GENERATE, b"[]", {}, "malformed", "object"), id="array"),
    pytest.param((GENERATE, b"{}", {}, "invalid", "algorithm"), id="missing field"),
    pytest.param((GENERATE, b'{"algorithm":"ec-p256","x":1}', {}, "invalid", "unknown field"), id="unknown field"),
    pytest.param((GENERATE, b" " * 200_000, {}, "invalid", "131072"), id="too large"),
    pytest.param(("keys.commands.key.nonsense", b"{}", {}, "unknown-command", "keys.commands.key.generate"), id="verb"),
    pytest.param(("keys.commands.key.sign", b"{}", {}, "unknown-command", "its commands are"), id="of another service"),
    pytest.param(("keys.commands.key.über.$x", b"{}", {}, "unknown-command", "its commands are"), id="strange verb"),
    pytest.param((REVOKE, {"key_id": str(new_id())}, {}, "not-found", "no such key"), id="no such key"),
    pytest.param((GENERATE, b"{}", {"CIM_Command_Id": "7"}, "malformed", "CIM-Command-Id"), id="command id"),
    pytest.param(
        (GENERATE, b"{}", {"CIM_Correlation_Id": "7"}, "malformed", "CIM-Correlation-Id"), id="correlation id"
    ),
    pytest.param((GENERATE, b"{}", {"CIM_Actor": "a" * 64_900}, "malformed", "CIM-Actor"), id="actor"),
    pytest.param((GENERATE, b"{}", {"CIM_Saga_Id": "s" * 64_900}, "malformed", "CIM-Saga-Id"), id="saga"),
    pytest.param((GENERATE, b"{}", {"traceparent": "t" * 64_900}, "invalid", "algorithm"), id="trace"),
    pytest.param(
        (GENERATE, b"{}", {"CIM_Command_Id": str(UUID(int=2**128 - 1))}, "invalid", "algorithm"), id="id of no version"
    ),
    pytest.param(
        (GENERATE, b"{}", {"CIM_Command_Id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}, "invalid", "algorithm"),
        id="id of the year 10889",
    ),
]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("bad", BAD)
async def test_bad_input_gets_its_rejection_and_the_service_goes_on(js, bad):
    subject, body, headers, code, word = bad
    await _tell(js, subject, body, **headers)
    await _tell(js, GENERATE, {"algorithm": "ec-p256"})

    rejection = await _rejection(js)
    assert rejection["code"] == code
    assert word in rejection["message"]
    assert await _kinds(js) == ["command.rejected", "key.generated"]


async def _in_hand(js):
    await js.publish(GENERATE, b'{"algorithm":"ec-p256"}')
    [message] = await (await js.pull_subscribe_bind("key", "KEYS_COMMANDS")).fetch(1)
    return message


async def test_a_command_that_cannot_be_carried_out_is_answered_in_the_end(js):
    await ledger_service(js).give_up(await _in_hand(js))

    rejection = await _rejection(js)
    assert (rejection["code"], rejection["retryable"]) == ("internal", True)


async def test_what_was_carried_out_after_all_is_not_given_up(js):
    message = await _in_hand(js)
    await ledger_service(js).handle(message)  # and its acknowledgement is lost

    await ledger_service(js).give_up(message)

    assert await _kinds(js) == ["key.generated"]


@pytest.mark.usefixtures("service")
async def test_an_answer_that_was_given_can_be_asked_for(js):
    await _tell(js, REVOKE, {"key_id": str(new_id())}, command_id=(refused := new_id()))

    assert await Replies(js, "key").has_reply(refused)
    assert not await Replies(js, "key").has_reply(new_id())
