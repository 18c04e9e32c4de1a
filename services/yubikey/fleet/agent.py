"""Agent: one process with its devices. Connects state directory, leases, watcher, routing, prompts and performer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from services.yubikey.core.effects import Effect, Outcome
from services.yubikey.core.states import Device, Presence
from services.yubikey.fleet.routing import CommandRouter
from services.yubikey.fleet.watcher import Watcher, WatcherCallbacks
from services.yubikey.metrics import with_metrics
from services.yubikey.performer.devices import DeviceConfiguration, DevicePerformer
from services.yubikey.performer.prompts import Prompts
from services.yubikey.performer.reconciliation import reconcile
from services.yubikey.readers.directory import Devices
from services.yubikey.readers.fencing import FencedDevices
from services.yubikey.state.home import StateDirectory
from services.yubikey.state.intents import BUCKET, Intents
from services.yubikey.state.leases import Holder, Leases
from services.yubikey.state.sealing import SealingKey
from shared.contracts.yubikey.presence import ReportPresence
from shared.messages.envelope import encode_command
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.client import Client
from shared.nats.kv import KeyValue
from shared.process.runtime import Handler, Stores
from shared.store.event_store import Versioned

Background = Coroutine[Any, Any, None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfiguration:
    """Settings of an agent. *sources* is called once the state directory is locked."""

    name: str
    sources: Callable[[], list[Devices]]
    lease_s: float
    prompt_timeout_s: float


class Agent:
    """One process of the fleet."""

    def __init__(
        self,
        configuration: AgentConfiguration,
        home: StateDirectory,
        client: Client,
        background: Callable[[Background], None],
    ) -> None:
        self._configuration = configuration
        self._home = home
        self._client = client
        self._background = background
        holder = Holder(configuration.name, str(uuid4()), home.identity)
        self._bucket = KeyValue(client.jetstream(), BUCKET)
        self.leases = Leases(self._bucket, holder, configuration.lease_s)
        self._reconciliations: set[asyncio.Task[Any]] = set()
        self._router: CommandRouter | None = None
        self._prompts: Prompts | None = None
        self._performer: DevicePerformer | None = None

    async def start(
        self, stores: Stores, sealing_key: SealingKey, configure: Callable[[KeyValue, Leases], DeviceConfiguration]
    ) -> Callable[[Effect], Awaitable[Outcome]]:
        """Polls for devices and leases them, now and in the background. Returns the performer of effects."""
        sources: list[Devices] = [FencedDevices(devices, self.leases) for devices in self._configuration.sources()]
        intents = Intents(self._bucket, self.leases)
        prompts = Prompts(stores["prompt"], self._configuration.prompt_timeout_s)
        performer = DevicePerformer(sources, intents, sealing_key, configure(self._bucket, self.leases), prompts)

        async def perform(effect: Effect) -> Outcome:
            with self.leases.in_use(int(effect.serial)):
                return await performer.perform(effect)

        async def load(serial: int) -> Versioned[Device]:
            store = stores["yubikey"]
            return await store.refresh(str(serial), await store.load(str(serial)))

        async def load_presence(serial: int) -> Presence | None:
            return (await load(serial)).state.presence

        async def compare(serial: int) -> None:
            try:
                await reconcile(str(serial), intents, partial(load, serial), perform)
            except Exception as error:  # noqa: BLE001 - the comparison is only for the log
                log.warning("YubiKey %d was not compared with the log: %s", serial, error)

        def on_leased(serial: int) -> None:
            task = asyncio.create_task(compare(serial))
            self._reconciliations.add(task)
            task.add_done_callback(self._reconciliations.discard)

        watcher = Watcher(sources, self.leases, WatcherCallbacks(load_presence, self._send_report, on_leased))
        self._router = CommandRouter(self._client, self.leases, watcher)
        watcher.expect(await self.leases.serials_of_this_home())
        await watcher.poll()
        self._background(watcher.poll_forever())
        self._background(watcher.renew_forever())
        self._prompts, self._performer = prompts, performer
        return with_metrics(perform)

    async def wrap(self, handle: Handler) -> Handler:
        """Puts routing in front of the handler."""
        assert self._router is not None
        return await self._router.wrap(handle)

    def stop_prompts(self) -> None:
        """Ends every wait for a person: the commands are redelivered, to another process or to the successor."""
        if self._prompts is not None:
            self._prompts.stop()

    async def close(self) -> None:
        """Releases the leases once no operation is in flight.

        If an operation takes too long, the leases expire, and the lock of the state directory ends with the process.
        """
        if self._router is not None:
            await self._router.stop()
        for task in self._reconciliations:
            task.cancel()
        if self._performer is not None and await self._performer.drain():
            await asyncio.gather(*map(self.leases.release, self.leases.held), return_exceptions=True)
            self._home.release()

    async def _send_report(self, report: ReportPresence) -> None:
        message = encode_command(report, Lineage.root(new_id(), self._configuration.name), "yubikey")
        await self._client.jetstream().publish(message.subject, message.payload, headers=message.headers)
