"""A nats-server in operator mode, which authenticates by JWT only, and clients with credentials issued by sagas."""

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
    """The recipient of a user's sealed seed, with the private key that opens it."""

    key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def seed_in(self, completed: dict[str, str]) -> bytes:
        """Opens the user's seed, in the encoding of NATS, from the completion event of the saga."""
        sealed = base64.b64decode(completed["sealed_user_seed"])
        return SUITE.decrypt(sealed, self.key, sealing_info(completed["user_key_id"]))


def config(completed: dict[str, str], store: Path) -> str:
    """Builds the nats-server configuration from the completion event of `nats-provisioning`."""
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
    """Runs a server with the provisioned operator."""
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
    """Connects with a JWT and seed. Raises nats-py's error if the server rejects them."""
    raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))[2:34]
    key = Ed25519PrivateKey.from_private_bytes(raw)
    errors = []

    async def on_error(problem):
        errors.append(str(problem))

    client = Client()
    client.errors = errors
    try:
        await client.connect(
            server.url,
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            allow_reconnect=False,
            error_cb=on_error,
        )
        yield client
    finally:
        await client.close()
