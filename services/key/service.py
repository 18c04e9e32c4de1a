"""Wiring of the key service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext

from services.key.crypto.public_formats import encode_public_key
from services.key.domain import KEY
from services.key.effects import Effect, FetchSuccessor, FormatPublicKey, Outcome, PublicKeyFormatted, SuccessorFetched
from services.key.secrets.kek import unlock
from services.key.secrets.keystore import Keystore
from services.key.secrets.rewrap import rewrap_until_done
from services.key.settings import KeySettings
from services.key.states import Key
from shared.contracts.key.events import KeyEvent
from shared.nats.kv import KeyValue
from shared.process.host import Host, Service
from shared.process.runtime import Aggregate, Stores, serve
from shared.store.event_store import EventStore


def key_service(settings: KeySettings) -> Service:
    secret, previous = settings.secret, settings.previous_secret
    host = Host(settings.nats.url, "key", settings.nats.access)

    async def prepare(js: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        bucket = KeyValue(js, "KEYS_SECRETS")
        keyring = await unlock(bucket, secret, previous)
        host.background(rewrap_until_done(bucket, keyring, changing=previous is not None))
        return key_performer(Keystore(bucket, keyring, ml_dsa=settings.ml_dsa), stores["key"])

    return serve(host, "key", Aggregate("key", KEY, prepare))


def key_performer(keystore: Keystore, store: EventStore[Key, KeyEvent]) -> Callable[[Effect], Awaitable[Outcome]]:
    """Returns the performer: the keystore for every effect on a private key, else a read or an encoding."""

    async def perform(effect: Effect) -> Outcome:
        match effect:
            case FetchSuccessor(request=request):
                # Read from the stream leader: a key that another replica has just revoked must not become a successor.
                cached = await store.load(request.successor_id)
                return SuccessorFetched(request, (await store.refresh(request.successor_id, cached)).state)
            case FormatPublicKey(request=request):
                return PublicKeyFormatted(
                    request, encode_public_key(effect.public_key_pem, effect.purpose, request.format)
                )
            case _:
                return await keystore.perform(effect)

    return perform
