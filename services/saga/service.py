"""Saga service: wires three durable consumers, the coordinator and the watchdog."""

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
from shared.process.middlewares import RetryOptions

_SWEEP_INTERVAL_S = 60.0
_CATCH_UP_POLL_S = 0.5
log = logging.getLogger(__name__)


def saga_service(
    settings: SagaSettings,
    definitions: Iterable[AnyDefinition] = DEFINITIONS,
    *,
    retries: RetryOptions | None = None,
) -> Service:
    """Makes the service. *definitions*: every version that may still run; a start command begins the newest."""
    oldest_first = sorted(definitions, key=lambda definition: definition.version)
    host = Host(settings.nats.url, SERVICE, settings.nats.access, retries=retries)

    async def start(client: Client) -> None:
        js = client.jetstream()
        store = SagaStore(KeyValue(js, "KEYS_SAGAS"), {f"{d.saga_type}/{d.version}": d for d in oldest_first})
        coordinator = Coordinator(js, store, {d.request: d for d in oldest_first})
        host.consume("saga", coordinator.on_command, coordinator.give_up_command)
        host.consume("saga-events", coordinator.on_event, coordinator.give_up_event, coordinator.is_relevant)
        host.consume("saga-timers", coordinator.on_timer, coordinator.give_up_event)
        host.background(_watchdog(coordinator, js))

    host.on_started(start)
    return host.app


async def _watchdog(coordinator: Coordinator, js: JetStreamContext) -> None:
    """Sweeps regularly, for what neither a redelivery nor a timer would notice."""
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        async with asyncio.timeout(_SWEEP_INTERVAL_S):
            await _catch_up(js)
    while True:
        try:
            await coordinator.sweep()
        except Exception:
            log.exception("the sweep failed; the next one is in %d s", _SWEEP_INTERVAL_S)
        await asyncio.sleep(_SWEEP_INTERVAL_S)


async def _catch_up(js: JetStreamContext) -> None:
    """Waits until the consumer has received all events stored while no coordinator ran.

    Otherwise the first sweep would send again, or time out, steps whose outcome is already in the log.
    """
    while (await js.consumer_info("KEYS_EVENTS", "saga-events")).num_pending:  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(_CATCH_UP_POLL_S)
