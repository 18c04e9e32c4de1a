"""The yubikey service, asked on the wire as any client would."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from services.yubikey.state.sealing import SUITE
from shared.contracts.yubikey.secrets import DeviceSecret, secret_info
from shared.messages.identity import new_id

SERIAL = 42000001
READER = X25519PrivateKey.generate()
RECIPIENT = base64.b64encode(READER.public_key().public_bytes_raw()).decode()


class Conversation:
    def __init__(self, client, events):
        self._client = client
        self._events = events

    async def ask(self, verb, serial=SERIAL, *, command_id=None, **body):
        command_id = command_id or str(new_id())
        raw, headers = json.dumps({"serial": str(serial), **body}).encode(), {"CIM-Command-Id": command_id}
        await self._client.jetstream().publish(f"keys.commands.yubikey.{verb}", raw, headers=headers)
        while True:
            event = await self._events.next_msg(timeout=20)
            if event.headers.get("CIM-Causation-Id") == command_id:
                return ".".join(event.subject.split(".")[2:4]), json.loads(event.data)

    async def done(self, event, verb, serial=SERIAL, **body):
        kind, told = await self.ask(verb, serial, **body)
        assert kind == f"yubikey.{event}", told
        return told

    async def refused(self, verb, serial=SERIAL, **body):
        kind, told = await self.ask(verb, serial, **body)
        assert kind == "command.rejected", (kind, told)
        return told["code"], told["message"]

    async def released(self, secret, serial=SERIAL):
        told = await self.done(
            "secret-released", "release-secret", serial, secret=secret, recipient_public_key=RECIPIENT
        )
        sealed, info = base64.b64decode(told["sealed_secret"]), secret_info(str(serial), DeviceSecret(secret))
        return SUITE.decrypt(sealed, READER, info).decode()

    async def sealed(self, secret, text, serial=SERIAL):
        detected = await self.done("detected", "detect", serial)
        recipient = X25519PublicKey.from_public_bytes(base64.b64decode(detected["recipient_public_key"]))
        info = secret_info(str(serial), DeviceSecret(secret))
        return base64.b64encode(SUITE.encrypt(text.encode(), recipient, info)).decode()

    async def assigned(self, serial=SERIAL):
        await self.done("registered", "register", serial, label="A-17")
        await self.done("assigned", "assign", serial, person_id="alice@acme.example", person_name="Alice")
