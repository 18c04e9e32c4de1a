"""A nats-server that knows nobody but by JWTs (operator mode), and clients that come with what a saga gave them."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nats.aio.client import Client

from services.key.secrets.imported_keys import SUITE
from shared.contracts.key.value_types import sealing_info
from tests.support.nats import NatsServer


@dataclass(frozen=True)
class Recipient:
    """Who asks for a user: what is sealed to it, only it can open."""

    key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def seed_in(self, told: dict[str, str]) -> bytes:
        """The user's seed, as NATS writes it, out of the end of the saga that made the user."""
        sealed = base64.b64decode(told["sealed_user_seed"])
        return SUITE.decrypt(sealed, self.key, sealing_info(told["user_key_id"]))


def config(completed: dict[str, str], store: Path) -> str:
    """What nats-server is told, out of the end of the saga `nats-provisioning`."""
    accounts = {completed[f"{who}_nkey"]: completed[f"{who}_jwt"] for who in ("system_account", "account")}
    return f"""
        operator: {completed["operator_jwt"]}
        system_account: {completed["system_account_nkey"]}
        max_control_line: 65536  # a JWT with many permissions comes in one line
        resolver: {{ type: full, dir: {json.dumps(str(store / "jwt"))} }}
        resolver_preload: {json.dumps(accounts)}
    """


@asynccontextmanager
async def operated(completed, store):
    """The server that the provisioned operator runs."""
    path = store / "nats.conf"
    path.write_text(config(completed, store))
    server = NatsServer(store / "jetstream", "-c", str(path))
    await server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def let_in(server, jwt, seed):
    """A client with that JWT and that seed. Raises what nats-py raises if the server does not let it in."""
    raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))[2:34]
    key = Ed25519PrivateKey.from_private_bytes(raw)
    refusals = []

    async def heard(problem):
        refusals.append(str(problem))

    client = Client()
    client.refusals = refusals
    try:
        await client.connect(
            server.url,
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            allow_reconnect=False,
            error_cb=heard,
        )
        yield client
    finally:
        await client.close()
