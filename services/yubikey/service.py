"""The YubiKey service, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from faststream import FastStream
from nats.js import JetStreamContext
from yubikit.piv import DEFAULT_MANAGEMENT_KEY

from services.yubikey.attestation import yubico_trust
from services.yubikey.device import YubiKeys
from services.yubikey.directory import Devices, VirtualDevices
from services.yubikey.domain import YUBIKEY
from services.yubikey.effects import Effect, Outcome
from services.yubikey.intents import BUCKET, Intents
from services.yubikey.pcsc import PcscYubiKeys
from services.yubikey.sealing import SealingKey, derived
from shared.host import Host
from shared.kv import KeyValue
from shared.runtime import Aggregate, Stores, serve


@dataclass(frozen=True, slots=True)
class Settings:
    """*virtual_serials*: what is plugged in of software; *pcsc*: whether real readers are used too."""

    nats_url: str
    state_directory: Path
    secret: bytes = field(repr=False)
    virtual_serials: tuple[int, ...] = ()
    pcsc: bool = False
    roots: Path | None = None
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)


def yubikey_service(settings: Settings) -> FastStream:
    sources = _sources(settings)

    async def prepare(js: JetStreamContext, _: Stores) -> Callable[[Effect], Awaitable[Outcome]]:
        intents = Intents(KeyValue(js, BUCKET))
        return YubiKeys(sources, intents, SealingKey(settings.secret), settings.management_key).perform

    return serve(Host(settings.nats_url, "yubikey"), "yubikey", Aggregate("yubikey", YUBIKEY, prepare))


def _sources(settings: Settings) -> list[Devices]:
    sources: list[Devices] = []
    if settings.virtual_serials:
        sealing_key = derived(settings.secret, b"cim-keys/yubikey/virtual-devices/v1")
        directory = settings.state_directory / "virtual"
        sources.append(VirtualDevices(directory, sealing_key, settings.virtual_serials))
    if settings.pcsc:
        sources.append(PcscYubiKeys(yubico_trust(settings.roots)))
    return sources
