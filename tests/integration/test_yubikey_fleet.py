"""Two processes with a device each on one consumer: the lease holder handles a command, exactly once."""

import json
import signal

import pytest

from services.yubikey.service import yubikey_service
from shared.contracts.yubikey.slots import Slot
from shared.errors import Unusable
from shared.messages.ids import derive_id, id_from_stream_position
from tests.support.service_client import running
from tests.support.settings import yubikey_settings
from tests.support.yubikey_fleet import SECRET, fleet_up, generating
from tests.support.yubikeys import OTHER, SERIAL

SLOTS = ("9a", "9c", "9d", "9e", "82", "83", "84", "85")


@pytest.fixture(name="fleet")
async def _fleet(server, client, tmp_path):
    async with fleet_up(server.url, client, tmp_path / "fleet") as fleet:
        yield fleet


async def fill(fleet, serials, slots=SLOTS):
    return [
        await fleet.publish("yubikey.generate-key", generating(serial, slot)) for slot in slots for serial in serials
    ]


async def all_populated(fleet, commands, within=60):
    for command_id in commands:
        kind, body = await fleet.answer_to(command_id, within)
        assert kind == "yubikey.slot-populated", body
    for command_id in commands:
        assert len(await fleet.answers_to(command_id)) == 1


async def test_commands_about_either_device_are_answered_once(fleet):
    one = await fleet.join("one", [SERIAL])
    other = await fleet.join("other", [OTHER])

    await all_populated(fleet, await fill(fleet, [SERIAL, OTHER]))

    assert (await fleet.lease(SERIAL))["holder"]["agent"] == "one"
    assert (await fleet.lease(OTHER))["holder"]["agent"] == "other"
    assert not [name for name in one.files() if str(OTHER) in name]
    assert not [name for name in other.files() if str(SERIAL) in name]


async def test_what_is_passed_on_keeps_the_ids_that_follow_from_where_the_stream_has_it(fleet):
    members = [await fleet.join("one", [SERIAL]), await fleet.join("other", [OTHER])]
    js, expected = fleet.client.jetstream(), {}
    for member in members:
        member.signal(signal.SIGSTOP)
    for slot in SLOTS[:4]:
        for serial in (SERIAL, OTHER):
            body = json.dumps(generating(serial, slot)).encode()
            stored = await js.publish("keys.commands.yubikey.generate-key", body)
            message = await js.get_msg("KEYS_COMMANDS", stored.seq)
            command_id = id_from_stream_position("KEYS_COMMANDS", stored.seq, message.time)
            expected[str(command_id)] = str(derive_id(command_id, "key_id"))
    for member in members:
        member.signal(signal.SIGCONT)

    async def all_told():
        return len(await fleet.kinds("keys.events.yubikey.slot-populated.*")) == len(expected)

    await fleet.until(all_told)

    told = await fleet.events("keys.events.yubikey.slot-populated.*")
    assert {headers["CIM-Causation-Id"]: body["key_id"] for _, body, headers in told} == expected


async def test_what_is_no_command_is_answered_wherever_it_comes(fleet):
    await fleet.join("one", [SERIAL])
    await fleet.join("other", [OTHER])

    for number in range(6):
        kind, refused = await fleet.ask("yubikey.clear-slot", {"serial": str(SERIAL), "slot": "9a", "nonsense": number})
        assert (kind, refused["code"]) == ("command.rejected", "invalid")
        kind, refused = await fleet.ask("yubikey.clear-slot", {"serial": ["no", "device"], "slot": number})
        assert (kind, refused["code"]) == ("command.rejected", "invalid")


async def test_what_takes_long_is_waited_for_and_not_done_again(fleet):
    """Longer than the ack wait of the consumer."""
    await fleet.join("one", [SERIAL])
    await fleet.join("other", [OTHER])

    slow = [
        await fleet.publish("yubikey.generate-key", generating(serial, slot) | {"algorithm": "rsa-4096"})
        for slot in SLOTS[:2]
        for serial in (SERIAL, OTHER)
    ]

    await all_populated(fleet, slow, within=120)


async def test_one_that_is_killed_takes_its_device_along_and_brings_it_back(fleet):
    one = await fleet.join("one", [SERIAL])
    await fleet.join("other", [OTHER])
    await all_populated(fleet, await fill(fleet, [SERIAL, OTHER], ["9a"]))

    await one.kill()
    kind, refused = await fleet.ask("yubikey.generate-key", generating(SERIAL, "9c"))
    await all_populated(fleet, await fill(fleet, [OTHER], ["9c"]))
    assert (kind, refused["code"], refused["retryable"]) == ("command.rejected", "unavailable", True)

    await one.begin()
    await all_populated(fleet, await fill(fleet, [SERIAL, OTHER], ["9d"]))
    assert (await fleet.lease(SERIAL))["epoch"] == 2
    assert await fleet.kinds(f"keys.events.yubikey.inserted.{SERIAL}") == ["yubikey.inserted"]


async def test_a_clean_stop_gives_the_device_up_at_once(fleet):
    one = await fleet.join("one", [SERIAL])
    await one.end()

    assert (await fleet.lease(SERIAL))["released"]
    await fleet.join("other", [SERIAL])
    await all_populated(fleet, await fill(fleet, [SERIAL], ["9a"]))
    assert (await fleet.lease(SERIAL))["epoch"] == 2


async def test_one_that_slept_through_its_lease_changes_nothing_when_it_wakes(fleet):
    """Both have a device with the same serial number, as if it moved while the first process is suspended."""
    sleeper = await fleet.join("sleeper", [SERIAL])
    await all_populated(fleet, await fill(fleet, [SERIAL], ["9a"]))
    await fleet.join("waker", [SERIAL])
    before = sleeper.files()
    sleeper.signal(signal.SIGSTOP)

    commands = await fill(fleet, [SERIAL], SLOTS[1:])
    await all_populated(fleet, commands)
    assert (await fleet.lease(SERIAL))["holder"]["agent"] == "waker"

    sleeper.signal(signal.SIGCONT)
    await all_populated(fleet, commands + await fill(fleet, [SERIAL], ["86", "87"]))
    await nothing_is_under_way(fleet)
    assert sleeper.files() == before
    assert (await fleet.lease(SERIAL))["holder"]["agent"] == "waker"


async def test_one_that_is_stopped_in_the_midst_of_its_work_finishes_at_most_the_apdu_that_it_had_sent(fleet):
    sleeper = await fleet.join("sleeper", [SERIAL])
    await fleet.join("waker", [SERIAL])
    slots = [slot.value for slot in Slot]
    commands = [
        await fleet.publish("yubikey.generate-key", generating(SERIAL, slot) | {"algorithm": "rsa-3072"})
        for slot in slots
    ]
    await fleet.answer_to(commands[0])
    sleeper.signal(signal.SIGSTOP)
    before = sleeper.files()
    assert 0 < len(await fleet.kinds("keys.events.yubikey.slot-populated.*")) < len(slots)

    await all_populated(fleet, commands)
    sleeper.signal(signal.SIGCONT)
    await fleet.ask("yubikey.verify-slot", {"serial": str(SERIAL), "slot": "9a"})
    await nothing_is_under_way(fleet)

    # Each APDU that changes something is written over the older of two copies: two would have changed both.
    assert len([name for name, content in sleeper.files().items() if content != before[name]]) <= 1
    assert (await fleet.lease(SERIAL))["holder"]["agent"] == "waker"


async def nothing_is_under_way(fleet):
    async def empty():
        info = await fleet.client.jetstream().consumer_info("KEYS_COMMANDS", "yubikey")
        return info.num_pending == 0 and info.num_ack_pending == 0

    await fleet.until(empty)


async def test_a_second_process_in_the_same_directory_says_what_is_wrong(fleet):
    one = await fleet.join("one", [SERIAL])
    settings = yubikey_settings(fleet.url, one.state, SECRET, virtual_serials=(SERIAL,))

    with pytest.raises(Unusable, match="is in use by another yubikey service"):
        async with running(yubikey_service(settings, predecessor_s=0)):
            pass
