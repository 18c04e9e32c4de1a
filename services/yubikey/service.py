"""The YubiKey service, put together."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from services.yubikey.core.domain import YUBIKEY
from services.yubikey.core.effects import Effect, Outcome
from services.yubikey.core.prompts import PROMPT
from services.yubikey.fleet.agent import Agency, Agent
from services.yubikey.performer.devices import Keeping
from services.yubikey.readers.directory import Devices
from services.yubikey.readers.pcsc import PcscYubiKeys
from services.yubikey.readers.virtual import VirtualDevices, load_distribution
from services.yubikey.roles import read_roles
from services.yubikey.state.credentials import PURPOSE, Credentials
from services.yubikey.state.home import Home
from services.yubikey.state.intents import BUCKET
from services.yubikey.state.leases import Leases
from services.yubikey.state.rotation import require_ours, settle
from services.yubikey.state.sealing import DocumentSealing, SealingKey, derived
from services.yubikey.trust import yubico_trust
from shared.nats.client import Client
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import KeyValue
from shared.process.host import Host, Service
from shared.process.runtime import Aggregate, Handler, Stores, serve

LEASE, SHORTEST_LEASE, PATIENCE, PREDECESSOR = 15.0, 3.0, 180.0, 15.0
VIRTUAL = b"cim-keys/yubikey/virtual-devices/v1"


@dataclass(frozen=True, slots=True)
class Settings:
    """*virtual_serials*: what is plugged in of software; *pcsc*: whether real readers are used too. *agent*: how this
    machine is called. In seconds: how long a *lease* is, how much *patience* there is with people, and with a
    *predecessor* in the same directory that has not ended yet.
    """

    nats_url: str
    state_directory: Path
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(default=None, repr=False, kw_only=True)
    virtual_serials: tuple[int, ...] = ()
    pcsc: bool = False
    roots: Path | None = None
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)
    roles_file: Path | None = None
    agent: str = field(default_factory=socket.gethostname)
    lease: float = LEASE
    patience: float = PATIENCE
    predecessor: float = PREDECESSOR
    access: Access = ANONYMOUS


def yubikey_service(settings: Settings, sources: Callable[[Settings], list[Devices]] | None = None) -> Service:
    """*sources*: where devices come from; default: whence the settings say."""
    if sources is None and settings.virtual_serials:
        load_distribution()  # say at once that it is missing, not once a server is found
    host, edge = Host(settings.nats_url, "yubikey", settings.access), _Edge(settings, sources or _sources)

    async def begin(client: Client) -> None:
        await edge.begin(client, host)

    host.on_started(begin)
    return serve(
        host,
        "yubikey",
        Aggregate("yubikey", YUBIKEY, edge.of_devices, edge.route),
        Aggregate("prompt", PROMPT, edge.of_prompts),
    )


class _Edge:
    def __init__(self, settings: Settings, sources: Callable[[Settings], list[Devices]]) -> None:
        self._settings = settings
        self._sources = sources
        self._sealing = DocumentSealing(settings.secret, PURPOSE, settings.previous_secret)
        self._agent: Agent | None = None

    async def begin(self, client: Client, host: Host) -> None:
        settings = self._settings
        home = await Home.claim(settings.state_directory, settings.predecessor)
        agency = Agency(settings.agent, lambda: self._sources(settings), settings.lease, settings.patience)
        self._agent = Agent(agency, home, client, host.background)
        bucket = KeyValue(client.jetstream(), BUCKET)
        await require_ours(bucket, self._sealing)
        if settings.previous_secret is not None:
            host.background(settle(bucket, self._sealing, self._agent.leases))
        host.on_stopping(self._agent.wait_for_nobody)
        host.on_stopped(self._agent.close)

    async def of_devices(self, _: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        assert self._agent is not None
        settings, sealing = self._settings, self._sealing
        roles = read_roles(settings.roles_file)

        def keeping(bucket: KeyValue, leases: Leases) -> Keeping:
            return Keeping(Credentials(bucket, sealing, leases), roles, settings.management_key)

        return await self._agent.equip(stores, SealingKey(settings.secret, settings.previous_secret), keeping)

    async def route(self, handle: Handler) -> Handler:
        assert self._agent is not None
        return await self._agent.route(handle)

    async def of_prompts(self, _: JetStreamContext, __: Stores) -> Callable[[Any], Awaitable[Any]]:
        async def perform(effect: Any) -> Any:
            raise AssertionError(f"prompts have no effects: {effect}")

        return perform


def _sources(settings: Settings) -> list[Devices]:
    sources: list[Devices] = []
    if settings.virtual_serials:
        directory, before = settings.state_directory / "virtual", settings.previous_secret
        previous_key = derived(before, VIRTUAL) if before is not None else None
        sources.append(
            VirtualDevices(directory, derived(settings.secret, VIRTUAL), settings.virtual_serials, previous_key)
        )
    if settings.pcsc:
        sources.append(PcscYubiKeys(yubico_trust(settings.roots)))
    return sources
