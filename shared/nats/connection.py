"""Connections to NATS: identity (NKEY seed, credentials file or password), TLS, server list."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats.aio.client
from faststream.nats.security import NatsCredentials, NatsNKey, NatsSecurity, NatsUserPassword

from shared.nats.client import Client

_CLOSE_TIMEOUT_S = 1.0
PING_INTERVAL_S, MAX_OUTSTANDING_PINGS = 2, 2
"""Seconds, and pings: with nats-py's defaults a client notices a server that is cut off only after minutes."""


def shuffled_servers(url: str) -> list[str]:
    """Shuffles the servers of *url* once; the order then stays, so a server that was left is tried last."""
    named = url.split(",")
    return random.sample(named, len(named))


def inbox_prefix(role: str) -> bytes:
    """Inbox prefix of a role. Permissions give each role its own, so no role reads the replies to another."""
    return f"_INBOX.{role}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Identity for NATS: at most one of *credentials* (JWT and seed), *nkey* (seed) and *user*; optionally TLS."""

    credentials: Path | None = None
    nkey: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def is_authenticated(self) -> bool:
        """True with an identity, whose permissions may be limited to its own streams."""
        return any((self.credentials, self.nkey, self.user))

    @property
    def security(self) -> NatsSecurity:
        """The identity in the form of FastStream's broker."""
        if self.credentials is not None:
            return NatsCredentials.from_file(str(self.credentials), ssl_context=self.tls)
        if self.nkey is not None:
            return NatsNKey.from_file(self.nkey, ssl_context=self.tls)
        if self.user is not None:
            return NatsUserPassword(self.user, self.password or "", ssl_context=self.tls)
        return NatsSecurity(ssl_context=self.tls)

    async def connect(self, url: str, role: str, **options: Any) -> Client:
        """Opens a connection as *role*; *options* are those of `nats.connect`."""
        client = Client()
        await self.connect_client(client, url, role, **options)
        return client

    async def connect_client(self, client: nats.aio.client.Client, url: str, role: str, **options: Any) -> None:
        """Connects *client*, which may be nats-py's own; it is closed when that fails."""
        identity = {
            "user_credentials": str(self.credentials) if self.credentials else None,
            "nkeys_seed": str(self.nkey) if self.nkey else None,
            "user": self.user,
            "password": self.password,
            "tls": self.tls,
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": MAX_OUTSTANDING_PINGS,
            "dont_randomize": True,
        }
        try:
            await client.connect(shuffled_servers(url), inbox_prefix=inbox_prefix(role), **{**identity, **options})
        except BaseException:
            # nats-py leaves a rejected connection open; after a failed handshake its close may never return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await client.close()
            raise


ANONYMOUS = Access()
"""Access without identity, for a server without authentication."""
