"""Watcher: polls for devices every second, leases those that are plugged in, and reports changes."""

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

_POLL_INTERVAL_S = 1.0
_REPORT_TIMEOUT_S = 10.0
"""Time until a report without an outcome is sent again."""

_TRANSIENT_ERRORS = (Conflict, Transient, nats.errors.Error, JetStreamError, OSError, TimeoutError)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatcherCallbacks:
    """Connections of the watcher. *load_presence*: from the log. *on_leased*: called for each new lease."""

    load_presence: Callable[[int], Awaitable[Presence | None]]
    send_report: Callable[[ReportPresence], Awaitable[None]]
    on_leased: Callable[[int], None]


class Watcher:
    """Polls the sources of devices.

    A device is leased once no other process holds its lease, and only the holder reports it. So each device has one
    reporter. A presence that the log has already is not reported.
    """

    def __init__(self, sources: Sequence[Devices], leases: Leases, callbacks: WatcherCallbacks) -> None:
        self._sources = sources
        self._leases = leases
        self._callbacks = callbacks
        self._present: Mapping[int, Devices] = {}
        self._unconfirmed: dict[int, float] = {}
        self._poll_lock = asyncio.Lock()

    async def poll_forever(self) -> None:
        await _repeat(_POLL_INTERVAL_S, self.poll)

    async def renew_forever(self) -> None:
        """Renews apart from polling: a reader that hangs must not cost the leases of other devices."""
        await _repeat(self._leases.length / 4, self._renew)

    async def poll(self) -> None:
        async with self._poll_lock:
            before, self._present = self._present, await self._poll_sources()
            for serial in before.keys() - self._present.keys():
                await self._on_removed(serial)
            await asyncio.gather(*(self._acquire(serial) for serial in self._present if not self._leases.holds(serial)))
            await asyncio.gather(*(self._report(serial) for serial in list(self._unconfirmed)))

    async def poll_for(self, serial: int) -> bool:
        """Polls now. Returns True if the device is plugged in; it is leased too, unless another process has it."""
        await self.poll()
        return serial in self._present

    def expect(self, serials: Sequence[int]) -> None:
        """Reports those of *serials* that are gone: this agent had them before it stopped."""
        self._unconfirmed |= dict.fromkeys(serials, 0.0)

    async def _poll_sources(self) -> dict[int, Devices]:
        present: dict[int, Devices] = {}
        for devices in self._sources:
            try:
                found = await asyncio.to_thread(devices.serials)
            except DeviceError as error:  # unknown at the moment: assume no change
                log.warning("%s", error)
                found = [serial for serial, source in self._present.items() if source is devices]
            present |= {serial: devices for serial in found if serial not in present}
        return present

    async def _on_removed(self, serial: int) -> None:
        if self._leases.holds(serial):
            self._unconfirmed[serial] = 0.0
            try:
                await self._leases.release(serial)
            except _TRANSIENT_ERRORS as error:
                log.warning("the lease of YubiKey %d was not released, and will expire: %s", serial, error)

    async def _renew(self) -> None:
        await asyncio.gather(*(self._acquire(serial) for serial in self._leases.held))

    async def _acquire(self, serial: int) -> None:
        try:
            if await self._leases.acquire(serial):
                self._unconfirmed[serial] = 0.0
                self._callbacks.on_leased(serial)
        except _TRANSIENT_ERRORS as error:
            log.debug("the lease of YubiKey %d: %s", serial, error)

    async def _report(self, serial: int) -> None:
        """Reports the device until the log agrees: two reports can be decided on in the wrong order."""
        devices, agent = self._present.get(serial), self._leases.holder.agent
        if devices is not None and not self._leases.holds(serial):
            del self._unconfirmed[serial]  # another process reports it
            return
        try:
            in_log = await self._callbacks.load_presence(serial)
            if (in_log is not None and in_log.agent == agent) == (devices is not None):
                del self._unconfirmed[serial]
            elif (now := asyncio.get_running_loop().time()) >= self._unconfirmed[serial]:
                self._unconfirmed[serial] = now + _REPORT_TIMEOUT_S
                await self._callbacks.send_report(await self._presence_report(serial, devices, in_log))
        except _TRANSIENT_ERRORS as error:
            log.warning("the presence of YubiKey %d was not reported: %s", serial, error)

    async def _presence_report(self, serial: int, devices: Devices | None, in_log: Presence | None) -> ReportPresence:
        firmware, form = await asyncio.to_thread(_describe, devices, serial) if devices is not None else (None, None)
        return ReportPresence(
            serial=str(serial),
            agent=self._leases.holder.agent,
            simulated=devices.simulated if devices is not None else in_log is not None and in_log.simulated,
            present=devices is not None,
            firmware=firmware,
            form_factor=form,
        )


async def _repeat(interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Repeats *work* without end: an unexpected error of one device must not end the polling of the others."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await work()
        except Exception:
            log.exception(
                "polling the devices or renewing their leases failed; the next attempt is in %g s", interval_s
            )


def _describe(devices: Devices, serial: int) -> tuple[str | None, str | None]:
    """Firmware and form factor, if the device reports them."""
    try:
        with devices.open(serial) as connection:
            info = ManagementSession(connection).read_device_info()
    except (DeviceError, CommandError, NotSupportedError, ValueError):
        return None, None
    return str(info.version), str(info.form_factor)
