"""Fencing: a device accepts APDUs only while this process holds its lease (docs/adr/0019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.readers.directory import Devices
from services.yubikey.state.leases import Leases
from services.yubikey.trust import Trust


class FencedDevices:
    """A source of devices that opens only leased ones.

    For a device that is plugged in but not leased, opening raises Transient: the redelivered command is routed to the
    holder of the lease, or this process has it by then.
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
    """A connection that checks the lease before each APDU: a process can be suspended between any two."""

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
