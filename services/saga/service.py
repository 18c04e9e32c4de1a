"""The saga coordinator, put together: three durable consumers, one coordinator, and a watchdog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

import nats.errors
from nats.js import JetStreamContext

from services.saga.coordinator import Coordinator
from services.saga.core.definition import AnyDefinition
from services.saga.definitions import DEFINITIONS
from services.saga.outbox import SERVICE
from services.saga.settings import SagaSettings
from services.saga.store import SagaStore
from shared.nats.client import Client
from shared.nats.kv import KeyValue
from shared.process.host import Host, Service

_SWEEP_EVERY = 60.0
_LOOK_AGAIN = 0.5
log = logging.getLogger(__name__)


def saga_service(settings: SagaSettings, definitions: Iterable[AnyDefinition] = DEFINITIONS) -> Service:
    """*definitions*: every version of every saga that may still run; of each type, `start` begins the newest."""
    known = sorted(definitions, key=lambda definition: definition.version)
    host = Host(settings.nats.url, SERVICE, settings.nats.access)

    async def begin(client: Client) -> None:
        js = client.jetstream()
        store = SagaStore(KeyValue(js, "KEYS_SAGAS"), {f"{d.saga_type}/{d.version}": d for d in known})
        coordinator = Coordinator(js, store, {d.request: d for d in known})
        await host.consume(client, "saga", coordinator.on_command, coordinator.give_up_command)
        heard = coordinator.on_event, coordinator.give_up_event, coordinator.is_relevant
        await host.consume(client, "saga-events", *heard)
        await host.consume(client, "saga-timers", coordinator.on_timer, coordinator.give_up_event)
        host.background(_watch(coordinator, js))

    host.on_started(begin)
    return host.app


async def _watch(coordinator: Coordinator, js: JetStreamContext) -> None:
    """Redelivery and timers move sagas; this is for what neither of them would ever notice."""
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        async with asyncio.timeout(_SWEEP_EVERY):
            await _caught_up(js)
    while True:
        try:
            await coordinator.sweep()
        except Exception:
            log.exception("the sweep was cut short; the next one is in %d s", _SWEEP_EVERY)
        await asyncio.sleep(_SWEEP_EVERY)


async def _caught_up(js: JetStreamContext) -> None:
    """What was answered while no coordinator ran is heard first: nothing of it is asked again, or taken for late."""
    while (await js.consumer_info("KEYS_EVENTS", "saga-events")).num_pending:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(_LOOK_AGAIN)
