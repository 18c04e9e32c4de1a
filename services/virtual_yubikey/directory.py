"""Virtual YubiKeys of one directory, each with a sealed file."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from yubikit.core.smartcard import SmartCardConnection

from services.virtual_yubikey import attestation, state
from services.virtual_yubikey.attestation import Attester
from services.virtual_yubikey.card import Card, Memory
from services.virtual_yubikey.connection import VirtualConnection
from services.virtual_yubikey.faults import FaultPlan, TouchSensor
from services.virtual_yubikey.management import MANAGEMENT
from services.virtual_yubikey.piv import PIV
from services.virtual_yubikey.sealing import KEY_SIZE, SealedFile
from services.virtual_yubikey.state import Firmware

MAX_SERIAL = 0xFFFF_FFFF


class VirtualYubiKeys:
    """The virtual devices of a directory, which one process may use at a time.

    A device is created when its serial number is first opened. Its firmware version never changes, as on a
    YubiKey.
    """

    def __init__(
        self,
        directory: Path,
        sealing_key: bytes,
        serials: Sequence[int],
        firmware: Firmware = (5, 7, 4),
    ) -> None:
        if len(sealing_key) != KEY_SIZE:
            raise ValueError(f"the sealing key of {directory} must be {KEY_SIZE} bytes")
        self._directory = directory
        self._sealing_key = sealing_key
        self._firmware = firmware
        self._plugged: dict[int, Firmware] = {}
        self._root: Attester | None = None
        self._memories: dict[int, Memory] = {}
        self._lock = Lock()
        for serial in serials:
            self.plug_in(serial)

    def serials(self) -> list[int]:
        """Lists the devices plugged in."""
        return [serial for serial in self._plugged if serial not in self._memories or self._memories[serial].plugged]

    def plug_in(self, serial: int, firmware: Firmware | None = None) -> None:
        """Plugs a device in. *firmware*: the version of a device that does not exist yet."""
        if not 0 < serial <= MAX_SERIAL:
            raise ValueError(f"{serial} is not a serial number of a YubiKey (1 to {MAX_SERIAL})")
        self._plugged[serial] = firmware or self._firmware
        if (memory := self._memories.get(serial)) is not None:
            memory.plugged = True

    def unplug(self, serial: int) -> None:
        """Removes a device, even during an operation."""
        self._plugged.pop(serial, None)
        if (memory := self._memories.get(serial)) is not None:
            memory.power, memory.plugged = memory.power + 1, False

    def inject_faults(self, serial: int, plan: FaultPlan | None) -> None:
        """Injects the faults of *plan* from now on; None: no faults. Resets the APDU count."""
        memory = self._memory(serial)
        memory.plan, memory.apdus = plan, 0

    def apdu_count(self, serial: int) -> int:
        """Number of APDUs since the last call of `inject_faults`."""
        return self._memory(serial).apdus

    def touch_sensor(self, serial: int) -> TouchSensor:
        """The device's touch sensor."""
        return self._memory(serial).touch_sensor

    def attestation_root(self) -> x509.Certificate:
        """Returns the root certificate of the devices' attestations; the first call creates it."""
        with self._lock:
            return self._attestation_root().certificate

    def open(self, serial: int) -> SmartCardConnection:
        """Powers a device on and connects to it. Raises KeyError if it is not plugged in."""
        if serial not in self.serials():
            raise KeyError(f"the virtual YubiKey {serial} is not plugged in")
        return VirtualConnection(Card(self._memory(serial), (PIV, MANAGEMENT)))

    def _memory(self, serial: int) -> Memory:
        with self._lock:
            memory = self._memories.get(serial) or self._load(serial)
            self._memories[serial] = memory
            return memory

    def _load(self, serial: int) -> Memory:
        file = self._sealed(f"device-{serial}")
        content = file.read()
        if content is not None:
            return Memory(device=state.from_json(content), file=file)
        attester = attestation.create_device_attester(self._attestation_root(), serial)
        certificate = attester.certificate.public_bytes(Encoding.DER)
        device = state.manufacture(serial, self._plugged.get(serial, self._firmware), attester.key, certificate)
        file.write(state.to_json(device))
        return Memory(device=device, file=file)

    def _attestation_root(self) -> Attester:
        if self._root is None:
            file = self._sealed("attestation-root")
            content = file.read()
            self._root = attestation.create_root() if content is None else attestation.from_json(content)
            if content is None:
                file.write(attestation.to_json(self._root))
        return self._root

    def _sealed(self, purpose: str) -> SealedFile:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)  # an existing directory may have a wider mode
        return SealedFile(self._directory / f"{purpose}.sealed", purpose, self._sealing_key)
