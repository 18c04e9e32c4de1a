"""A client of the yubikey service on the wire."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from services.yubikey.state.sealing import SUITE
from shared.contracts.yubikey.secrets import DeviceSecret, secret_info
from tests.support.service_client import ServiceClient

SERIAL = 42000001
READER = X25519PrivateKey.generate()
RECIPIENT = base64.b64encode(READER.public_key().public_bytes_raw()).decode()


class DeviceClient(ServiceClient):
    """Commands about one device. *serial*: the first device of a test with several."""

    def __init__(self, client):
        super().__init__(client, ids=True)

    async def ask(self, verb, serial=SERIAL, *, command_id=None, **body):
        return await self.request(f"yubikey.{verb}", {"serial": str(serial), **body}, command_id=command_id)

    async def done(self, event, verb, serial=SERIAL, **body):
        return await self.accepted(f"yubikey.{verb}", {"serial": str(serial), **body}, f"yubikey.{event}")

    async def refused(self, verb, serial=SERIAL, **body):
        rejection = await self.rejected(f"yubikey.{verb}", {"serial": str(serial), **body})
        return rejection["code"], rejection["message"]

    async def released(self, secret, serial=SERIAL):
        released = await self.done(
            "secret-released", "release-secret", serial, secret=secret, recipient_public_key=RECIPIENT
        )
        sealed, info = base64.b64decode(released["sealed_secret"]), secret_info(str(serial), DeviceSecret(secret))
        return SUITE.decrypt(sealed, READER, info).decode()

    async def sealed(self, secret, text, serial=SERIAL):
        detected = await self.done("detected", "detect", serial)
        recipient = X25519PublicKey.from_public_bytes(base64.b64decode(detected["recipient_public_key"]))
        info = secret_info(str(serial), DeviceSecret(secret))
        return base64.b64encode(SUITE.encrypt(text.encode(), recipient, info)).decode()

    async def assigned(self, serial=SERIAL):
        await self.done("registered", "register", serial, label="A-17")
        await self.done("assigned", "assign", serial, person_id="alice@acme.example", person_name="Alice")
