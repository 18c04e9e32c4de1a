"""The key service, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from faststream import FastStream
from nats.js import JetStreamContext

from services.key.domain import KEY
from services.key.effects import Effect, Outcome
from services.key.kek import KeyFile, Passphrase, unlock
from services.key.keystore import Keystore
from shared.errors import Unusable
from shared.host import Host
from shared.kv import KeyValue
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What the key service is told; exactly one of the two files."""

    nats_url: str
    passphrase_file: Path | None = None
    kek_file: Path | None = None

    def secret(self) -> Passphrase | KeyFile:
        match self.passphrase_file, self.kek_file:
            case Path() as path, None:
                return Passphrase.read(path)
            case None, Path() as path:
                return KeyFile.read(path)
            case _:
                raise Unusable("exactly one of a passphrase file and a key file is needed for the key-encryption key")


def key_service(settings: KeySettings) -> FastStream:
    secret = settings.secret()

    async def prepare(js: JetStreamContext, _: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        bucket = KeyValue(js, "KEYS_SECRETS")
        return Keystore(bucket, await unlock(bucket, secret)).perform

    return serve(Host(settings.nats_url, "key"), "key", Aggregate("key", KEY, prepare))
