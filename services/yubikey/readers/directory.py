"""Where devices come from: the virtual ones of a directory, or the readers of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from yubikit.core.smartcard import SmartCardConnection

from services.virtual_yubikey import SealedFileError, VirtualYubiKeys, reseal
from services.yubikey.piv.attestation import Trust
from shared.contracts.rejection import RejectionCode
from shared.errors import Unusable


class DeviceError(Exception):
    """Why a device did not do what it was asked, in words for who asked."""

    def __init__(self, code: RejectionCode, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class DeviceAbsentError(DeviceError):
    def __init__(self, serial: int | str) -> None:
        problem = f"YubiKey {serial} is not plugged in"
        super().__init__(RejectionCode.UNAVAILABLE, problem, retryable=True)


class DeviceBusyError(DeviceError):
    """Somebody else has it, or it went away in the midst: the same again may work."""

    def __init__(self, message: str) -> None:
        super().__init__(RejectionCode.UNAVAILABLE, message, retryable=True)


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


class VirtualDevices:
    """Devices of software, for machines that have no other. They say so in every event about them."""

    simulated = True

    """*previous_key*: what the devices may still be sealed with; they are sealed with *sealing_key* from now on."""

    def __init__(
        self, directory: Path, sealing_key: bytes, serials: Sequence[int], previous_key: bytes | None = None
    ) -> None:
        try:
            if previous_key is not None:
                reseal(directory, previous_key, sealing_key)
            self._yubikeys = VirtualYubiKeys(directory, sealing_key, serials)
            self.trust = Trust((self._yubikeys.attestation_root(),))
        except (SealedFileError, ValueError) as error:
            raise Unusable(f"the virtual YubiKeys cannot be used: {error}") from error

    def serials(self) -> Sequence[int]:
        return self._yubikeys.serials()

    def open(self, serial: int) -> SmartCardConnection:
        try:
            return self._yubikeys.open(serial)
        except KeyError:
            raise DeviceAbsentError(serial) from None


def open_device(sources: Sequence[Devices], serial: str) -> tuple[Devices, SmartCardConnection]:
    """A connection to the device of this serial number, from the first of *sources* that has it."""
    for devices in sources:
        try:
            return devices, devices.open(int(serial))
        except DeviceAbsentError:
            continue
    raise DeviceAbsentError(serial)
