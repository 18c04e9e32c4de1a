"""One process with its devices: its directory, its leases, what watches, passes on, asks people and does the work."""

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
from services.yubikey.fleet.routing import Routing
from services.yubikey.fleet.watcher import News, Watch
from services.yubikey.metrics import measured
from services.yubikey.performer.devices import Keeping, YubiKeys
from services.yubikey.performer.prompts import Prompts
from services.yubikey.performer.reconciliation import reconcile
from services.yubikey.readers.directory import Devices
from services.yubikey.readers.fencing import FencedDevices
from services.yubikey.state.home import Home
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


@dataclass(frozen=True, slots=True)
class Agency:
    """What an agent is told: its *name*, its devices, how long its leases are and how long people have, in seconds.

    *sources* is called once its directory is its own.
    """

    name: str
    sources: Callable[[], list[Devices]]
    lease: float
    patience: float


class Agent:
    def __init__(self, agency: Agency, home: Home, client: Client, background: Callable[[Background], None]) -> None:
        self._agency = agency
        self._home = home
        self._client = client
        self._background = background
        holder = Holder(agency.name, str(uuid4()), home.identity)
        self._bucket = KeyValue(client.jetstream(), BUCKET)
        self.leases = Leases(self._bucket, holder, agency.lease)
        self._reconciling: set[asyncio.Task[Any]] = set()
        self._routing: Routing | None = None
        self._prompts: Prompts | None = None
        self._yubikeys: YubiKeys | None = None

    async def equip(
        self, stores: Stores, sealing_key: SealingKey, keeping: Callable[[KeyValue, Leases], Keeping]
    ) -> Callable[[Effect], Awaitable[Outcome]]:
        """Look what is plugged in, lease it, and go on doing so; what performs effects on it is returned."""
        sources: list[Devices] = [FencedDevices(devices, self.leases) for devices in self._agency.sources()]
        intents, prompts = Intents(self._bucket, self.leases), Prompts(stores["prompt"], self._agency.patience)
        yubikeys = YubiKeys(sources, intents, sealing_key, keeping(self._bucket, self.leases), prompts)

        async def perform(effect: Effect) -> Outcome:
            with self.leases.using(int(effect.serial)):
                return await yubikeys.perform(effect)

        async def standing_of(serial: int) -> Versioned[Device]:
            store = stores["yubikey"]
            return await store.refresh(str(serial), await store.load(str(serial)))

        async def seen(serial: int) -> Presence | None:
            return (await standing_of(serial)).state.present

        async def compare(serial: int) -> None:
            try:
                await reconcile(str(serial), intents, partial(standing_of, serial), perform)
            except Exception as error:  # noqa: BLE001 - it only says what to expect
                log.warning("YubiKey %d is not compared with the log: %s", serial, error)

        def taken(serial: int) -> None:
            task = asyncio.create_task(compare(serial))
            self._reconciling.add(task)
            task.add_done_callback(self._reconciling.discard)

        watch = Watch(sources, self.leases, News(seen, self._report, taken))
        self._routing = Routing(self._client, self.leases, watch)
        watch.miss(await self.leases.of_this_home())
        await watch.look()
        self._background(watch.watch_forever())
        self._background(watch.renew_forever())
        self._prompts, self._yubikeys = prompts, yubikeys
        return measured(perform)

    async def route(self, handle: Handler) -> Handler:
        assert self._routing is not None
        return await self._routing.around(handle)

    def wait_for_nobody(self) -> None:
        """Have commands that wait for a person given back: they are delivered again, to a successor or a sibling."""
        if self._prompts is not None:
            self._prompts.stop()

    async def close(self) -> None:
        """Give the devices up once nothing is done with them any more. Where something goes on for too long, their
        leases run out, and the directory's lock ends with the process."""
        if self._routing is not None:
            await self._routing.stop()
        for task in self._reconciling:
            task.cancel()
        if self._yubikeys is not None and await self._yubikeys.rest():
            await asyncio.gather(*map(self.leases.release, self.leases.held), return_exceptions=True)
            self._home.release()

    async def _report(self, report: ReportPresence) -> None:
        sealed = encode_command(report, Lineage.root(new_id(), self._agency.name), "yubikey")
        await self._client.jetstream().publish(sealed.subject, sealed.payload, headers=sealed.headers)
