"""The key service, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from faststream import FastStream
from nats.js import JetStreamContext

from services.key.domain import KEY
from services.key.effects import Effect, FetchSuccessor, Outcome, PublicKeyWritten, SuccessorFetched, WritePublicKey
from services.key.kek import KeyFile, Passphrase, unlock
from services.key.keystore import Keystore
from services.key.public_forms import written
from services.key.states import Key
from shared.contracts.key_events import KeyEvent
from shared.errors import Unusable
from shared.event_store import EventStore
from shared.host import Host
from shared.kv import KeyValue
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What the key service is told; exactly one of the two files. *ml_dsa*: whether it makes and uses ML-DSA keys."""

    nats_url: str
    passphrase_file: Path | None = None
    kek_file: Path | None = None
    ml_dsa: bool = False

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

    async def prepare(js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        bucket, store = KeyValue(js, "KEYS_SECRETS"), stores["key"]
        keystore = Keystore(bucket, await unlock(bucket, secret), ml_dsa=settings.ml_dsa)
        return performing(keystore, store)

    return serve(Host(settings.nats_url, "key"), "key", Aggregate("key", KEY, prepare))


def performing(keystore: Keystore, store: EventStore[Key, KeyEvent]) -> Callable[[Effect], Awaitable[Outcome]]:
    """What touches no private key is performed here, the rest by the keystore."""

    async def perform(effect: Effect) -> Outcome:
        match effect:
            case FetchSuccessor(request=request):
                # Read from the leader: a key revoked a moment ago, by another replica too, takes nobody's place.
                standing = await store.load(request.successor_id)
                return SuccessorFetched(request, (await store.refresh(request.successor_id, standing)).state)
            case WritePublicKey(request=request):
                return PublicKeyWritten(request, written(effect.public_key_pem, effect.purpose, request.format))
            case _:
                return await keystore.perform(effect)

    return perform
