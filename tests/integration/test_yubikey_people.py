"""Hot-plugging, touches and PIN prompts, through the service on a real server."""

import asyncio
import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from yubikit.piv import DEFAULT_MANAGEMENT_KEY, MANAGEMENT_KEY_TYPE

from services.yubikey.core.prompts import PROMPT
from services.yubikey.performer.prompts import Prompts
from services.yubikey.piv.authentication import authenticate
from services.yubikey.service import yubikey_service
from services.yubikey.state.sealing import SUITE
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.prompts import pin_info
from shared.errors import Transient
from shared.messages.envelope import ReceivedCommand
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.streams import declare
from shared.process.runtime import current_command, store_of
from tests.support.pluggable_devices import PluggableDevices
from tests.support.scenario import NOON
from tests.support.service_client import running
from tests.support.settings import yubikey_settings
from tests.support.yubikey_fleet import Fleet, encoded, generating
from tests.support.yubikeys import OTHER, SERIAL, opening

INSERTED, REMOVED = "yubikey.inserted", "yubikey.removed"


@pytest.fixture(name="hands")
def _hands(tmp_path):
    return PluggableDevices(tmp_path / "virtual", bytes(32), [SERIAL, OTHER])


@pytest.fixture(name="settings")
def _settings(server, tmp_path):
    return yubikey_settings(server.url, tmp_path / "state", bytes(range(32)), agent="desk", patience_s=60)


@pytest.fixture(name="fleet")
def _fleet(server, client, tmp_path):
    return Fleet(server.url, client, tmp_path)


def serving(settings, hands):
    return running(yubikey_service(settings, lambda _: [hands]))


class TestHotPlug:
    async def told(self, fleet, *kinds):
        async def all_told():
            return await fleet.kinds(f"keys.events.yubikey.*.{SERIAL}") == list(kinds)

        await fleet.until(all_told)

    async def test_what_is_plugged_in_and_out_is_told_once_each_and_not_again_after_a_restart(
        self, settings, hands, fleet
    ):
        for _ in range(3):
            async with serving(settings, hands):
                await self.told(fleet, INSERTED)
        async with serving(settings, hands):
            hands.plugged.remove(SERIAL)
            await self.told(fleet, INSERTED, REMOVED)
            kind, refused = await fleet.ask("yubikey.generate-key", generating(SERIAL, "9a"))
            assert (kind, refused["code"]) == ("command.rejected", "unavailable")
            hands.plugged.add(SERIAL)
            await self.told(fleet, INSERTED, REMOVED, INSERTED)
            kind, _ = await fleet.ask("yubikey.generate-key", generating(SERIAL, "9a"))
            assert kind == "yubikey.slot-populated"

        (_, inserted, _), *_ = await fleet.events(f"keys.events.yubikey.inserted.{SERIAL}")
        assert inserted == {
            "serial": str(SERIAL),
            "agent": "desk",
            "simulated": True,
            "firmware": "5.7.4",
            "form_factor": "Keychain (USB-A)",
        }
        assert not await fleet.events("keys.events.command.repeated.*")

    async def test_what_was_unplugged_while_the_service_was_away_is_told_when_it_is_back(self, settings, hands, fleet):
        async with serving(settings, hands):
            await self.told(fleet, INSERTED)
        hands.plugged.remove(SERIAL)

        async with serving(settings, hands):
            await self.told(fleet, INSERTED, REMOVED)

    async def test_it_is_used_the_moment_it_is_plugged_in(self, settings, hands, fleet):
        hands.plugged.clear()
        async with serving(settings, hands):
            hands.plugged.add(SERIAL)
            kind, _ = await fleet.ask("yubikey.generate-key", generating(SERIAL, "9a"))

        assert kind == "yubikey.slot-populated"


def require_touch(hands, serial=SERIAL):
    with opening(hands, serial) as device:
        authenticate(device)
        device.session.set_management_key(MANAGEMENT_KEY_TYPE.AES192, DEFAULT_MANAGEMENT_KEY, require_touch=True)
    hands.untouched[serial] = 0
    hands.tries[serial] = 0


class TestATouch:
    @pytest.fixture(autouse=True)
    def _touch_is_required(self, hands):
        require_touch(hands)

    async def prompts(self, fleet):
        return await fleet.events("keys.events.prompt.>")

    async def test_it_is_asked_for_before_the_device_waits_and_waited_for(self, settings, hands, fleet):
        hands.untouched[SERIAL] = 2
        async with serving(settings, hands):
            command_id = await fleet.publish("yubikey.generate-key", generating(SERIAL, "9a"))
            kind, _ = await fleet.answer_to(command_id)

        assert kind == "yubikey.slot-populated"
        assert hands.tries[SERIAL] == 3
        (raised, body, headers), (settled, end, _) = await self.prompts(fleet)
        assert (raised, settled) == ("prompt.raised", "prompt.settled")
        assert (body["serial"], body["wanted"], body["command_type"]) == (str(SERIAL), "touch", "GenerateSlotKey")
        assert body["command_id"] == headers["CIM-Correlation-Id"] == command_id
        assert len(await fleet.answers_to(command_id)) == 1
        assert end["outcome"] == "done"

    async def test_others_are_worked_with_meanwhile(self, settings, hands, fleet):
        hands.untouched[SERIAL] = 10_000
        async with serving(settings, hands):
            waiting = await fleet.publish("yubikey.generate-key", generating(SERIAL, "9a"))
            for slot in ("9a", "9c", "9d"):
                kind, _ = await fleet.ask("yubikey.generate-key", generating(OTHER, slot))
                assert kind == "yubikey.slot-populated"
            assert not await fleet.answers_to(waiting)

            hands.untouched[SERIAL] = 0
            kind, _ = await fleet.answer_to(waiting)
        assert kind == "yubikey.slot-populated"

    async def test_nobody_comes(self, server, tmp_path, hands, fleet):
        hands.untouched[SERIAL] = 10_000
        settings = yubikey_settings(server.url, tmp_path / "state", bytes(range(32)), patience_s=1)
        async with serving(settings, hands):
            kind, refused = await fleet.ask("yubikey.generate-key", generating(SERIAL, "9a"))

        assert (kind, refused["code"]) == ("command.rejected", "unavailable")
        assert "touch it when it blinks" in refused["message"]
        assert [body.get("outcome") for _, body, _ in await self.prompts(fleet)] == [None, "expired"]

    async def test_it_is_cancelled(self, settings, hands, fleet):
        hands.untouched[SERIAL] = 10_000
        async with serving(settings, hands):
            waiting = await fleet.publish("yubikey.generate-key", generating(SERIAL, "9a"))

            async def raised():
                return bool(await self.prompts(fleet))

            await fleet.until(raised)
            ((_, body, _),) = await self.prompts(fleet)
            await fleet.publish("prompt.cancel", {"prompt_id": body["prompt_id"]})
            kind, refused = await fleet.answer_to(waiting)

        assert (kind, refused["code"]) == ("command.rejected", "not-allowed")
        assert "cancelled" in refused["message"]

    async def test_a_successor_waits_for_the_same_touch(self, settings, hands, fleet):
        hands.untouched[SERIAL] = 10_000
        async with serving(settings, hands):
            waiting = await fleet.publish("yubikey.generate-key", generating(SERIAL, "9a"))

            async def raised():
                return bool(await self.prompts(fleet))

            await fleet.until(raised)
        assert not await fleet.answers_to(waiting)
        hands.untouched[SERIAL] = 0

        async with serving(settings, hands):
            kind, _ = await fleet.answer_to(waiting)

        assert kind == "yubikey.slot-populated"
        assert [kind for kind, *_ in await self.prompts(fleet)] == ["prompt.raised", "prompt.settled"]


class TestAPin:
    """No command takes one yet: asked for as the commands that will."""

    @pytest.fixture(name="prompts")
    async def _prompts(self, client):
        await declare(client)
        prompts = Prompts(store_of(client.jetstream(), "prompt", PROMPT), 30, retry_interval_s=0.05)
        lineage = Lineage.root(new_id())
        current_command.set(
            ReceivedCommand(lineage=lineage, command_type="SignWithSlot", aggregate_id=str(SERIAL), at=NOON, body=None)
        )
        return prompts

    async def raised(self, fleet):
        async def is_raised():
            return bool(await fleet.kinds("keys.events.prompt.raised.*"))

        await fleet.until(is_raised)
        return (await fleet.events("keys.events.prompt.raised.*"))[-1][1]

    def sealed(self, prompt, pin="123456", serial=SERIAL):
        key = X25519PublicKey.from_public_bytes(base64.b64decode(prompt["recipient_public_key"]))
        return encoded(SUITE.encrypt(pin.encode(), key, pin_info(str(serial), prompt["prompt_id"])))

    async def test_it_is_given_sealed_and_used(self, settings, hands, fleet, prompts):
        async with serving(settings, hands):
            asking = asyncio.create_task(asyncio.to_thread(prompts.with_pin, SERIAL, None, lambda pin: pin[::-1]))
            prompt = await self.raised(fleet)
            answer = {"prompt_id": prompt["prompt_id"], "sealed_pin": self.sealed(prompt)}
            kind, _ = await fleet.ask("prompt.answer", answer)

            assert (kind, await asking) == ("prompt.answered", "654321")
        assert await fleet.kinds("keys.events.prompt.settled.*") == ["prompt.settled"]

    async def test_sealed_for_another_device_it_does_not_open(self, settings, hands, fleet, prompts):
        async with serving(settings, hands):
            asking = asyncio.create_task(asyncio.to_thread(prompts.with_pin, SERIAL, None, lambda pin: pin))
            prompt = await self.raised(fleet)
            answer = {"prompt_id": prompt["prompt_id"], "sealed_pin": self.sealed(prompt, serial=OTHER)}
            await fleet.ask("prompt.answer", answer)

            with pytest.raises(Exception, match="does not open") as refused:
                await asking
        assert refused.value.code is RejectionCode.INVALID

    async def test_a_process_that_stops_gives_its_command_back_and_its_key_is_gone(self, fleet, prompts):
        asking = asyncio.create_task(asyncio.to_thread(prompts.with_pin, SERIAL, None, lambda pin: pin))
        first = await self.raised(fleet)
        prompts.stop()
        with pytest.raises(Transient):
            await asking
        successor = Prompts(prompts._store, 0, retry_interval_s=0.05)  # noqa: SLF001 - the log, as another process has it

        with pytest.raises(Exception, match="was not given"):
            await asyncio.to_thread(successor.with_pin, SERIAL, None, lambda pin: pin)

        ends = {body["prompt_id"]: body["outcome"] for _, body, _ in await fleet.events("keys.events.prompt.settled.*")}
        assert ends.pop(first["prompt_id"]) == "cancelled"
        assert list(ends.values()) == ["expired"]
