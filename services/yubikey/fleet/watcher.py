"""Which devices are plugged in: looked at every second, leased, and told when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import nats.errors
from nats.js.errors import Error as JetStreamError
from yubikit.core import CommandError, NotSupportedError
from yubikit.management import ManagementSession

from services.yubikey.core.states import Presence
from services.yubikey.errors import DeviceError
from services.yubikey.readers.directory import Devices
from services.yubikey.state.leases import Leases
from shared.contracts.yubikey.presence import ReportPresence
from shared.errors import Conflict, Transient

_EVERY = 1.0
_TIME_TO_DECIDE = 10.0
"""Seconds that a report is given to be decided on, before it is told again."""

_WORLD_ERRORS = (Conflict, Transient, nats.errors.Error, JetStreamError, OSError, TimeoutError)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class News:
    """What the watch asks of the log and tells. *seen*: where the log has the device; *tell*: a report."""

    seen: Callable[[int], Awaitable[Presence | None]]
    tell: Callable[[ReportPresence], Awaitable[None]]
    taken: Callable[[int], None]


class Watch:
    """Polls the sources of devices. What is plugged in is leased as soon as nobody else has it, and reported then:
    so a device has one reporter, and one that is where the log has it already is no news.
    """

    def __init__(self, sources: Sequence[Devices], leases: Leases, news: News) -> None:
        self._sources = sources
        self._leases = leases
        self._news = news
        self._here: Mapping[int, Devices] = {}
        self._unconfirmed: dict[int, float] = {}
        self._looking = asyncio.Lock()

    async def watch_forever(self) -> None:
        await _for_ever(_EVERY, self.look)

    async def renew_forever(self) -> None:
        """Apart from looking: a reader that does not answer must not cost the leases of the others."""
        await _for_ever(self._leases.length / 4, self._renew)

    async def look(self) -> None:
        async with self._looking:
            before, self._here = self._here, await self._plugged_in()
            for serial in before.keys() - self._here.keys():
                await self._gone(serial)
            await asyncio.gather(*(self._take(serial) for serial in self._here if not self._leases.holds(serial)))
            await asyncio.gather(*(self._report(serial) for serial in list(self._unconfirmed)))

    async def look_for(self, serial: int) -> bool:
        """Whether it is plugged in here, at this very moment; then it is leased too, if nobody else has it."""
        await self.look()
        return serial in self._here

    def miss(self, serials: Sequence[int]) -> None:
        """Have those of *serials* reported gone that are: this agent had them before it stopped."""
        self._unconfirmed |= dict.fromkeys(serials, 0.0)

    async def _plugged_in(self) -> dict[int, Devices]:
        here: dict[int, Devices] = {}
        for devices in self._sources:
            try:
                found = await asyncio.to_thread(devices.serials)
            except DeviceError as error:  # it cannot be told now: what was there is there
                log.warning("%s", error)
                found = [serial for serial, source in self._here.items() if source is devices]
            here |= {serial: devices for serial in found if serial not in here}
        return here

    async def _gone(self, serial: int) -> None:
        if self._leases.holds(serial):
            self._unconfirmed[serial] = 0.0
            try:
                await self._leases.release(serial)
            except _WORLD_ERRORS as error:
                log.warning("the lease of YubiKey %d is not given up, it runs out: %s", serial, error)

    async def _renew(self) -> None:
        await asyncio.gather(*(self._take(serial) for serial in self._leases.held))

    async def _take(self, serial: int) -> None:
        try:
            if await self._leases.take(serial):
                self._unconfirmed[serial] = 0.0
                self._news.taken(serial)
        except _WORLD_ERRORS as error:
            log.debug("the lease of YubiKey %d: %s", serial, error)

    async def _report(self, serial: int) -> None:
        """Tell where the device is, until the log has it: two reports may be decided on in the wrong order."""
        devices, agent = self._here.get(serial), self._leases.holder.agent
        if devices is not None and not self._leases.holds(serial):
            del self._unconfirmed[serial]  # it is another's to report
            return
        try:
            known = await self._news.seen(serial)
            if (known is not None and known.agent == agent) == (devices is not None):
                del self._unconfirmed[serial]
            elif (now := asyncio.get_running_loop().time()) >= self._unconfirmed[serial]:
                self._unconfirmed[serial] = now + _TIME_TO_DECIDE
                await self._news.tell(await self._seen_here(serial, devices, known))
        except _WORLD_ERRORS as error:
            log.warning("where YubiKey %d is, is not told: %s", serial, error)

    async def _seen_here(self, serial: int, devices: Devices | None, known: Presence | None) -> ReportPresence:
        firmware, form = await asyncio.to_thread(_described, devices, serial) if devices is not None else (None, None)
        return ReportPresence(
            serial=str(serial),
            agent=self._leases.holder.agent,
            simulated=devices.simulated if devices is not None else known is not None and known.simulated,
            present=devices is not None,
            firmware=firmware,
            form_factor=form,
        )


async def _for_ever(every: float, work: Callable[[], Awaitable[None]]) -> None:
    """A device that cannot be understood must not end the watch over the others."""
    while True:
        await asyncio.sleep(every)
        try:
            await work()
        except Exception:
            log.exception("watching the devices failed; it goes on")


def _described(devices: Devices, serial: int) -> tuple[str | None, str | None]:
    """Firmware and form factor, as far as the device tells them."""
    try:
        with devices.open(serial) as connection:
            info = ManagementSession(connection).read_device_info()
    except (DeviceError, CommandError, NotSupportedError, ValueError):
        return None, None
    return str(info.version), str(info.form_factor)
