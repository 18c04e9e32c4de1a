"""A fleet of yubikey service processes, each with a state directory and devices, on one server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from nats.js.errors import NotFoundError

from services.yubikey.readers.virtual import VirtualDevices
from services.yubikey.state.sealing import derive_key
from shared.messages.headers import Header, NatsHeader
from shared.messages.ids import new_id
from shared.nats.kv import read_until_end

ROOT = Path(__file__).parents[2]
SECRET = bytes(range(1, 33))
LEASE = 3
OUTCOMES = ("keys.events.yubikey.>", "keys.events.command.>")


class Member:
    """One process with its environment, which can be killed, suspended and started again."""

    def __init__(self, fleet, name, serials, **settings):
        self.name = name
        self.state = fleet.directory / name
        self.log = fleet.directory / f"{name}.log"
        self._serials = serials
        secret = fleet.directory / "secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        self._environment = {
            "PATH": os.environ["PATH"],
            "NATS_URL": fleet.url,
            "STATE_DIR": str(self.state),
            "YUBIKEY_SECRET_FILE": str(secret),
            "VIRTUAL_YUBIKEYS": ",".join(map(str, serials)),
            "YUBIKEY_AGENT": name,
            "YUBIKEY_LEASE": str(LEASE),
            **settings,
        }
        self.process = None

    async def begin(self):
        with self.log.open("ab") as log:
            begun = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.yubikey", cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(20):
            while b"serving" not in self.log.read_bytes()[begun:]:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def end(self, number=signal.SIGTERM):
        if self.process is not None and self.process.returncode is None:
            self.signal(number)
            await self.process.wait()

    async def kill(self):
        await self.end(signal.SIGKILL)

    def signal(self, number):
        os.kill(self.process.pid, number)

    @property
    def devices(self):
        """The devices, for inspection while no process uses them."""
        key = derive_key(SECRET, b"cim-keys/yubikey/virtual-devices/v1")
        return VirtualDevices(self.state / "virtual", key, self._serials)

    def files(self):
        return {path.name: path.read_bytes() for path in sorted((self.state / "virtual").iterdir())}


class Fleet:
    def __init__(self, url, client, directory):
        self.url = url
        self.client = client
        self.directory = directory
        self.members = []
        self._received = defaultdict(asyncio.Event)
        self._listening = None

    async def join(self, name, serials, **settings):
        member = Member(self, name, serials, **settings)
        self.members.append(member)
        await member.begin()
        return member

    async def publish(self, verb, body, command_id=None):
        """Publishes a command, and returns its id. With the same id, it can be published again."""
        await self._listen()
        command_id = command_id or str(new_id())
        headers = {Header.COMMAND_ID: command_id, NatsHeader.MSG_ID: str(uuid4())}
        await self.client.jetstream().publish(f"keys.commands.{verb}", json.dumps(body).encode(), headers=headers)
        return command_id

    async def ask(self, verb, body, within=30):
        return await self.answer_to(await self.publish(verb, body), within)

    async def answer_to(self, command_id, within=30):
        async with asyncio.timeout(within):
            await self._received[command_id].wait()
        await self.until(
            lambda: self.answers_to(command_id), within
        )  # a core subscription receives it before it is stored
        return (await self.answers_to(command_id))[0]

    async def _listen(self):
        async def on_event(message):
            self._received[message.headers[Header.CAUSATION_ID]].set()

        if self._listening is None:
            self._listening = await self.client.subscribe("keys.events.>", cb=on_event)

    async def answers_to(self, command_id):
        return [
            (kind, body) for kind, body, headers in await self.events() if headers[Header.CAUSATION_ID] == command_id
        ]

    async def events(self, pattern="keys.events.>"):
        """Returns all events so far: type, body, headers."""
        try:
            subscription = await self.client.jetstream().subscribe(pattern, stream="KEYS_EVENTS", ordered_consumer=True)
        except NotFoundError:
            return []
        return [
            (".".join(message.subject.split(".")[2:4]), json.loads(message.data), message.headers)
            async for message in read_until_end(subscription)
        ]

    async def kinds(self, pattern):
        return [kind for kind, *_ in await self.events(pattern)]

    async def until(self, condition, within=30):
        async with asyncio.timeout(within):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.05)

    async def lease(self, serial):
        return json.loads(
            (await self.client.jetstream().get_msg("KV_KEYS_DEVICES", subject=f"$KV.KEYS_DEVICES.{serial}.lease")).data
        )


def generating(serial, slot, **more):
    return {"serial": str(serial), "slot": slot, "algorithm": "ec-p256", "pin_policy": "once", **more}


@asynccontextmanager
async def fleet_up(url, client, directory):
    directory.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(url, client, directory)
    try:
        yield fleet
    finally:
        for member in fleet.members:
            if member.process is not None and member.process.returncode is None:
                member.signal(signal.SIGCONT)
            await member.kill()


def encoded(raw):
    return base64.b64encode(raw).decode()
