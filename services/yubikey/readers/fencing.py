"""Devices behind their leases: nothing is said to one that is not, or no longer, in the hands of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.readers.directory import Devices
from services.yubikey.state.leases import Leases
from services.yubikey.trust import Trust


class FencedDevices:
    """*devices*, of which only the leased ones open. For one that is here and not, or no longer, leased the command is
    put off: it is passed on next time, or the lease is this process's by then.
    """

    def __init__(self, devices: Devices, leases: Leases) -> None:
        self._devices = devices
        self._leases = leases

    @property
    def simulated(self) -> bool:
        return self._devices.simulated

    @property
    def trust(self) -> Trust:
        return self._devices.trust

    def serials(self) -> Sequence[int]:
        return self._devices.serials()

    def open(self, serial: int) -> SmartCardConnection:
        if not self._leases.holds(serial) and serial not in self._devices.serials():
            raise DeviceAbsentError(serial)
        epoch = self._leases.require(serial)
        return FencedConnection(self._devices.open(serial), lambda: self._leases.require(serial, epoch))


class FencedConnection(SmartCardConnection):
    """Asks before each APDU whether the lease still has time left: a process may be stopped between any two."""

    def __init__(self, connection: SmartCardConnection, require: Callable[[], object]) -> None:
        self._connection = connection
        self._require = require

    @property
    def transport(self) -> TRANSPORT:
        return self._connection.transport

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self._require()
        return self._connection.send_and_receive(apdu)

    def close(self) -> None:
        self._connection.close()
