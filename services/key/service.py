"""The key service, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from faststream import FastStream
from nats.js import JetStreamContext

from services.key.domain import KEY
from services.key.effects import Effect, Outcome
from services.key.kek import unlock
from services.key.keystore import Keystore
from services.key.rewrapping import settle
from services.key.secret import Source
from shared.host import Host
from shared.kv import KeyValue
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What the key service is told. *previous*: the secret that KEYS_SECRETS is to be sealed with no longer."""

    nats_url: str
    secret: Source
    previous: Source | None = None


def key_service(settings: KeySettings) -> FastStream:
    secret = settings.secret.read()
    previous = settings.previous.read() if settings.previous is not None else None
    host = Host(settings.nats_url, "key")

    async def prepare(js: JetStreamContext, _: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        bucket = KeyValue(js, "KEYS_SECRETS")
        keyring = await unlock(bucket, secret, previous)
        host.background(settle(bucket, keyring, changing=previous is not None))
        return Keystore(bucket, keyring).perform

    return serve(host, "key", Aggregate("key", KEY, prepare))
