"""Directory of devices: the interface of their sources, and the search for one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.trust import Trust


class Devices(Protocol):
    """A source of devices of one make.

    *trust*: the roots for their attestations. Simulated devices have a root of their own, never Yubico's.
    """

    @property
    def simulated(self) -> bool: ...

    @property
    def trust(self) -> Trust: ...

    def serials(self) -> Sequence[int]:
        """Serial numbers of the devices that are plugged in now. Must be cheap: it is polled every second."""
        ...

    def open(self, serial: int) -> SmartCardConnection:
        """Connects to a device. Raises DeviceAbsentError if it is not there, DeviceBusyError if that is unknown."""
        ...


def open_device(sources: Sequence[Devices], serial: str) -> tuple[Devices, SmartCardConnection]:
    """Connects to the device with this serial number, in the first of *sources* that has it."""
    for devices in sources:
        try:
            return devices, devices.open(int(serial))
        except DeviceAbsentError:
            continue
    raise DeviceAbsentError(serial)
