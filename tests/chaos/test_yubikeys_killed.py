"""Two yubikey processes killed with SIGKILL at random moments while keys are made, imported and cleared on devices:
in the end each device has in its slots what the log says, and each command was answered once.
"""

import asyncio
import base64
import random
from collections import Counter
from functools import reduce
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.yubikey.core.domain import YUBIKEY
from services.yubikey.state.sealing import SUITE
from shared.contracts.key.value_types import sealing_info
from shared.contracts.registry import MESSAGES
from tests.support.yubikey_fleet import encoded, fleet_up, generating
from tests.support.yubikeys import OTHER, SERIAL, opening

SLOTS = ("9a", "9c", "9d", "82", "83", "84")
KILLS = 14


class Slot:
    """A client that fills and clears one slot, one command after another, and takes "not now" for "again"."""

    def __init__(self, fleet, serial, slot, chance):
        self.fleet = fleet
        self.at = {"serial": str(serial), "slot": slot}
        self.chance = chance
        self.commands = []

    async def live(self, until):
        while not until.is_set():
            key_id = str(uuid4())
            if self.chance.random() < 0.6:
                await self.ask("generate-key", generating(**self.at, key_id=key_id, replace=self.chance.random() < 0.5))
            else:
                await self.import_key(key_id)
            if self.chance.random() < 0.7:
                await self.ask("clear-slot", {**self.at, "key_id": key_id} if self.chance.random() < 0.5 else self.at)

    async def import_key(self, key_id):
        kind, prepared = await self.ask("prepare-import", self.at)
        assert kind == "yubikey.import-prepared", prepared
        private_key = ec.generate_private_key(ec.SECP256R1())
        pkcs8 = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        recipient = X25519PublicKey.from_public_bytes(base64.b64decode(prepared["recipient_public_key"]))
        sealed = encoded(SUITE.encrypt(pkcs8, recipient, sealing_info(key_id)))
        body = {**self.at, "key_id": key_id, "algorithm": "ec-p256", "sealed_key": sealed, "replace": True}
        await self.ask("import-key", body)

    async def ask(self, verb, body):
        while True:
            command_id = await self.fleet.publish(f"yubikey.{verb}", body)
            self.commands.append(command_id)
            kind, answer = await self.fleet.answer_to(command_id, within=60)
            if kind != "command.rejected" or answer["code"] != "unavailable":
                return kind, answer
            await asyncio.sleep(0.2)


async def kill_at_random(members, chance, over):
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.05, 0.7))
        member = chance.choice(members)
        await member.kill()
        await member.begin()
    over.set()


async def test_the_devices_and_the_log_agree(server, client, tmp_path):
    chance = random.Random(4)  # noqa: S311 - moments, no secrets
    async with fleet_up(server.url, client, tmp_path / "fleet") as fleet:
        members = [await fleet.join("one", [SERIAL]), await fleet.join("other", [OTHER])]
        over = asyncio.Event()
        slots = [Slot(fleet, serial, slot, chance) for serial in (SERIAL, OTHER) for slot in SLOTS]
        await asyncio.gather(kill_at_random(members, chance, over), *(slot.live(over) for slot in slots))
        for member in members:
            await member.end()

        answered = Counter(headers["CIM-Causation-Id"] for _, _, headers in await fleet.events())
        asked = [command_id for slot in slots for command_id in slot.commands]
        print(f"{len(asked)} commands, {KILLS} kills")
        assert {command_id: answered[command_id] for command_id in asked} == dict.fromkeys(asked, 1)
        for member, serial in zip(members, (SERIAL, OTHER), strict=True):
            assert await in_the_log(fleet, serial) == on_the_device(member.devices, serial)


async def in_the_log(fleet, serial):
    told = await fleet.events(f"keys.events.yubikey.*.{serial}")
    events = [MESSAGES[headers["CIM-Event-Type"]].model_validate(body, strict=False) for _, body, headers in told]
    device = reduce(YUBIKEY.evolve, events, YUBIKEY.initial)
    return {slot: device.slots[slot].public_key_pem if slot in device.slots else None for slot in SLOTS}


def on_the_device(devices, serial):
    with opening(devices, serial) as device:
        readings = {slot: device.read(slot) for slot in SLOTS}
    return {slot: found.key.pem if found.key is not None else None for slot, found in readings.items()}
