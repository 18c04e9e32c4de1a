"""Virtual YubiKeys as a source of devices, for machines without readers.

The simulator is a distribution of its own, which production images do not contain. It is imported by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from cryptography import x509
from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.errors import DeviceAbsentError
from services.yubikey.trust import Trust
from shared.errors import Unusable

DISTRIBUTION, PACKAGE = "cim-keys-virtual-yubikey", "services.virtual_yubikey"


class Simulator(Protocol):
    """The part of the distribution's `VirtualYubiKeys` that this service uses."""

    def serials(self) -> Sequence[int]: ...

    def open(self, serial: int) -> SmartCardConnection:
        """Raises KeyError for a device that is not plugged in."""
        ...

    def attestation_root(self) -> x509.Certificate: ...


class Distribution(Protocol):
    """The names that the package of virtual YubiKeys exports."""

    VirtualYubiKeys: Callable[[Path, bytes, Sequence[int]], Simulator]
    reseal: Callable[[Path, bytes, bytes], None]


def load_distribution() -> Distribution:
    """Imports the package of virtual YubiKeys. Raises Unusable if this installation does not contain it."""
    try:
        return cast("Distribution", importlib.import_module(PACKAGE))
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        problem = f"VIRTUAL_YUBIKEYS needs the package {DISTRIBUTION}, which is not installed here"
        remedy = "build the image with --build-arg VIRTUAL_YUBIKEY=1 (docs/operations.md), or unset VIRTUAL_YUBIKEYS"
        raise Unusable(f"{problem}: {remedy}") from error


class VirtualDevices:
    """Simulated devices in a directory of sealed files. Every event about them says `simulated: true`.

    *previous_key*: the sealing key before *sealing_key*; files that are sealed with it are sealed again.
    """

    simulated = True

    def __init__(
        self, directory: Path, sealing_key: bytes, serials: Sequence[int], previous_key: bytes | None = None
    ) -> None:
        distribution = load_distribution()
        try:
            if previous_key is not None:
                distribution.reseal(directory, previous_key, sealing_key)
            self._yubikeys = distribution.VirtualYubiKeys(directory, sealing_key, serials)
            self.trust = Trust((self._yubikeys.attestation_root(),))
        except ValueError as error:  # a serial number that no YubiKey has, or a file that does not open
            raise Unusable(f"the virtual YubiKeys cannot be used: {error}") from error

    def serials(self) -> Sequence[int]:
        return self._yubikeys.serials()

    def open(self, serial: int) -> SmartCardConnection:
        try:
            return self._yubikeys.open(serial)
        except KeyError:
            raise DeviceAbsentError(serial) from None
