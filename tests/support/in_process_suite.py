"""Four services in the test's process, on a real server, with virtual devices under the test's control."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from yubikit.core.smartcard import SW, ApduError
from yubikit.piv import SLOT, PivSession

from deploy.settings import LocalSuite
from services.certificate.service import certificate_service
from services.key.service import key_service
from services.saga.core.definition import AnyDefinition
from services.saga.service import saga_service
from services.virtual_yubikey import VirtualYubiKeys
from services.yubikey.core.domain import YUBIKEY
from services.yubikey.piv.attestation import spki
from services.yubikey.readers.virtual import VirtualDevices
from services.yubikey.service import yubikey_service
from services.yubikey.trust import Trust
from shared.contracts.registry import MESSAGES
from shared.messages.headers import Header
from tests.support.nats import NatsServer, connected
from tests.support.settings import certificate_settings, key_settings, saga_settings, yubikey_settings
from tests.support.suite import Suite

SECRET = bytes(range(32))


class ControllableDevices(VirtualDevices):
    """Virtual devices that a test may unplug, fail and touch."""

    def __init__(self, yubikeys: VirtualYubiKeys) -> None:
        self._yubikeys = yubikeys
        self.trust = Trust((yubikeys.attestation_root(),))


@dataclass(frozen=True)
class Together:
    suite: Suite
    yubikeys: VirtualYubiKeys

    async def logged(self, serial: int) -> dict[str, str]:
        """Returns the slots and their public keys according to the log."""
        state: Any = YUBIKEY.initial
        for event in await self.suite.events(f"keys.events.yubikey.*.{serial}"):
            state = YUBIKEY.evolve(
                state, MESSAGES[event.headers[Header.EVENT_TYPE]].model_validate(event.body, strict=False)
            )
        return {str(slot): content.public_key_pem for slot, content in state.slots.items()}

    def found(self, serial: int, slots: Iterable[str]) -> dict[str, bytes]:
        """Returns the slots of the device and their public keys (SPKI)."""
        self.yubikeys.inject_faults(serial, None)
        session, keys = PivSession(self.yubikeys.open(serial)), {}
        for slot in slots:
            try:
                keys[slot] = spki(session.get_slot_metadata(SLOT(int(slot, 16))).public_key)
            except ApduError as error:
                if error.sw != SW.REFERENCE_DATA_NOT_FOUND:
                    raise
        return keys

    async def agree(self, serial: int, slots: Iterable[str] = ("9a", "9c", "9d", "9e")) -> bool:
        """Returns true if device and log agree."""
        logged = {slot: spki(load_pem_public_key(pem.encode())) for slot, pem in (await self.logged(serial)).items()}
        return logged == self.found(serial, slots)


@asynccontextmanager
async def together(
    server: NatsServer, directory: Path, serials: Iterable[int], definitions: Iterable[AnyDefinition]
) -> AsyncIterator[Together]:
    yubikeys = VirtualYubiKeys(directory / "virtual", SECRET, list(serials))
    settings = yubikey_settings(server.url, directory / "yubikey", SECRET)
    applications = (
        key_service(key_settings(server.url, passphrase="correct horse battery staple")),
        certificate_service(certificate_settings(server.url)),
        yubikey_service(settings, lambda _: [ControllableDevices(yubikeys)]),
        saga_service(saga_settings(server.url), definitions),
    )
    async with AsyncExitStack() as stack, connected(server.url) as client:
        for application in applications:
            await application.start()
            stack.push_async_callback(application.stop)
        suite = Suite(LocalSuite(directory, server.port), client)
        await suite.bootstrap()
        yield Together(suite, yubikeys)
