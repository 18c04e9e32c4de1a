"""The saga coordinator, put together: three durable consumers, one coordinator, and a watchdog."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from faststream import FastStream
from nats.aio.client import Client

from services.saga.coordinator import Coordinator
from services.saga.definition import AnyDefinition
from services.saga.definitions import DEFINITIONS
from services.saga.outgoing import SERVICE
from services.saga.store import SagaStore
from shared.host import Host
from shared.kv import KeyValue

_SWEEP_EVERY = 60.0
log = logging.getLogger(__name__)


def saga_service(nats_url: str, definitions: Iterable[AnyDefinition] = DEFINITIONS) -> FastStream:
    """*definitions*: every version of every saga that may still run; of each type, `start` begins the newest."""
    known = sorted(definitions, key=lambda definition: definition.version)
    host = Host(nats_url, SERVICE)

    async def begin(client: Client) -> None:
        js = client.jetstream()
        store = SagaStore(KeyValue(js, "KEYS_SAGAS"), {f"{d.saga_type}/{d.version}": d for d in known})
        coordinator = Coordinator(js, store, {d.request: d for d in known})
        await host.read(client, "saga", coordinator.on_command, coordinator.surrender_command)
        heard = coordinator.on_event, coordinator.surrender_event, coordinator.concerns
        await host.read(client, "saga-events", *heard)
        await host.read(client, "saga-timers", coordinator.on_timer, coordinator.surrender_event)
        host.background(_watch(coordinator))

    host.begin(begin)
    return host.app


async def _watch(coordinator: Coordinator) -> None:
    """Redelivery and timers move sagas; this is for what neither of them would ever notice."""
    while True:
        try:
            await coordinator.sweep()
        except Exception:
            log.exception("the sweep was cut short; the next one is in %d s", _SWEEP_EVERY)
        await asyncio.sleep(_SWEEP_EVERY)
