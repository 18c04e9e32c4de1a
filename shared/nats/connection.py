"""As whom a process comes to NATS, and by what it knows the server: a seed, credentials or a password; TLS."""

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

_CLOSING = 1.0
PING_INTERVAL_S, MAX_OUTSTANDING_PINGS = 2, 2
"""Seconds, and pings. By nats-py's own default a server that is cut off passes for a silent one for minutes."""


def shuffled_servers(url: str) -> list[str]:
    """The servers of *url*, in an order that is drawn and then kept to: one that was left is the last to be tried."""
    named = url.split(",")
    return random.sample(named, len(named))


def inbox_prefix(role: str) -> bytes:
    """Under what a role has itself answered: permissions give each its own, so that none hears another's answers."""
    return f"_INBOX.{role}".encode()


@dataclass(frozen=True, slots=True)
class Access:
    """At most one of *credentials* (a JWT and its seed), *nkey* (a seed) and *user*; *tls* where the server asks it."""

    credentials: Path | None = None
    nkey: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def is_authenticated(self) -> bool:
        """Whether one comes as somebody: then with permissions, it may be, for no more than is one's own."""
        return any((self.credentials, self.nkey, self.user))

    @property
    def security(self) -> NatsSecurity:
        """As FastStream's broker takes it."""
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
        who = {
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
            await client.connect(shuffled_servers(url), inbox_prefix=inbox_prefix(role), **{**who, **options})
        except BaseException:
            # nats-py leaves open what was refused; and where a handshake failed, its end is waited for in vain
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING):
                    await client.close()
            raise


ANONYMOUS = Access()
"""What a server that asks nothing lets in."""
