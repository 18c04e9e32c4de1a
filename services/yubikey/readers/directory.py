"""Where devices come from: the virtual ones of a directory, or the readers of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.trust import Trust


class Devices(Protocol):
    """Devices of one make. What *simulated* ones attest is proved under *trust* of their own, never under Yubico's."""

    @property
    def simulated(self) -> bool: ...

    @property
    def trust(self) -> Trust: ...

    def serials(self) -> Sequence[int]:
        """Which are plugged in now, as cheaply as that can be told: it is asked every second."""
        ...

    def open(self, serial: int) -> SmartCardConnection:
        """Raises DeviceAbsentError where this device is not to be found, DeviceBusyError where that cannot be told."""
        ...


def open_device(sources: Sequence[Devices], serial: str) -> tuple[Devices, SmartCardConnection]:
    """A connection to the device of this serial number, from the first of *sources* that has it."""
    for devices in sources:
        try:
            return devices, devices.open(int(serial))
        except DeviceAbsentError:
            continue
    raise DeviceAbsentError(serial)
