"""Wiring of the YubiKey service: settings, sources of devices, agent and aggregates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext

from services.yubikey.core.domain import YUBIKEY
from services.yubikey.core.effects import Effect, Outcome
from services.yubikey.core.prompts import PROMPT
from services.yubikey.fleet.agent import Agent, AgentConfiguration
from services.yubikey.performer.devices import DeviceConfiguration
from services.yubikey.readers.directory import Devices
from services.yubikey.readers.pcsc import PcscYubiKeys
from services.yubikey.readers.virtual import VirtualDevices, load_distribution
from services.yubikey.roles import read_roles
from services.yubikey.settings import YubikeySettings
from services.yubikey.state.credentials import PURPOSE, Credentials
from services.yubikey.state.home import StateDirectory
from services.yubikey.state.intents import BUCKET
from services.yubikey.state.leases import Leases
from services.yubikey.state.rotation import require_readable, reseal_documents
from services.yubikey.state.sealing import DocumentSealing, SealingKey, derive_key
from services.yubikey.trust import yubico_trust
from shared.nats.client import Client
from shared.nats.kv import KeyValue
from shared.process.host import Host, Service
from shared.process.runtime import Aggregate, Handler, Stores, serve

PREDECESSOR_S = 15.0
"""Grace period for the previous process of the same state directory to end."""

VIRTUAL = b"cim-keys/yubikey/virtual-devices/v1"


def yubikey_service(
    settings: YubikeySettings,
    sources: Callable[[YubikeySettings], list[Devices]] | None = None,
    *,
    predecessor_s: float = PREDECESSOR_S,
) -> Service:
    """Builds the service. *sources*: the sources of devices; by default, those that the settings name."""
    if sources is None and settings.virtual_serials:
        load_distribution()  # fail before connecting if it is missing
    host = Host(settings.nats.url, "yubikey", settings.nats.access)
    edge = _Edge(settings, sources or _sources, predecessor_s)

    async def on_started(client: Client) -> None:
        await edge.start(client, host)

    host.on_started(on_started)
    return serve(
        host,
        "yubikey",
        Aggregate("yubikey", YUBIKEY, edge.device_performer, edge.route),
        Aggregate("prompt", PROMPT),
    )


class _Edge:
    """State directory, agent and sealing of the running service."""

    def __init__(
        self, settings: YubikeySettings, sources: Callable[[YubikeySettings], list[Devices]], predecessor_s: float
    ) -> None:
        self._settings = settings
        self._predecessor_s = predecessor_s
        self._sources = sources
        self._sealing = DocumentSealing(settings.secret, PURPOSE, settings.previous_secret)
        self._agent: Agent | None = None

    async def start(self, client: Client, host: Host) -> None:
        settings = self._settings
        bucket = KeyValue(client.jetstream(), BUCKET)
        await require_readable(bucket, self._sealing)
        home = await StateDirectory.claim(settings.state_directory, self._predecessor_s)
        configuration = AgentConfiguration(
            name=settings.agent,
            sources=lambda: self._sources(settings),
            lease_s=settings.lease_s,
            prompt_timeout_s=settings.patience_s,
        )
        self._agent = Agent(configuration, home, client, host.background)
        if settings.previous_secret is not None:
            host.background(reseal_documents(bucket, self._sealing, self._agent.leases))
        host.on_stopping(self._agent.stop_prompts)
        host.on_stopped(self._agent.close)

    async def device_performer(self, _: JetStreamContext, stores: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        assert self._agent is not None
        settings, sealing = self._settings, self._sealing
        roles = read_roles(settings.roles_file)

        def configure(bucket: KeyValue, leases: Leases) -> DeviceConfiguration:
            return DeviceConfiguration(Credentials(bucket, sealing, leases), roles, settings.management_key)

        return await self._agent.start(stores, SealingKey(settings.secret, settings.previous_secret), configure)

    async def route(self, handle: Handler) -> Handler:
        assert self._agent is not None
        return await self._agent.wrap(handle)


def _sources(settings: YubikeySettings) -> list[Devices]:
    sources: list[Devices] = []
    if settings.virtual_serials:
        directory, previous = settings.state_directory / "virtual", settings.previous_secret
        previous_key = derive_key(previous, VIRTUAL) if previous is not None else None
        sources.append(
            VirtualDevices(directory, derive_key(settings.secret, VIRTUAL), settings.virtual_serials, previous_key)
        )
    if settings.pcsc:
        sources.append(PcscYubiKeys(yubico_trust(settings.roots)))
    return sources
