"""Real YubiKeys over PC/SC. Only this module needs pyscard and pcscd, so it imports pyscard when it is used.

Connections are exclusive, and opened here. ykman's opener kills other users of the reader (scdaemon, yubikey-agent). It
falls back to a shared connection, on which one client can write with another's authentication.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from yubikit.core import TRANSPORT, ApplicationNotAvailableError, NotSupportedError
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.piv import PivSession

from services.yubikey.errors import DeviceAbsentError, DeviceBusyError
from services.yubikey.trust import Trust
from shared.errors import Unusable

CONNECT_TIMEOUT_S = 2.0
_RETRY_INTERVAL_S = 0.1


class PcscYubiKeys:
    """The YubiKeys in this machine's readers, by serial number: reader names shift when a device is plugged in."""

    simulated = False

    def __init__(self, trust: Trust, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.trust = trust
        self._connect_timeout_s = connect_timeout_s
        self._pcsc = _pyscard("ykman.pcsc")
        self._scard = _pyscard("smartcard.scard")
        self._identified: dict[str, tuple[int, int | None]] = {}
        self._reader_names: dict[int, str] = {}
        self._search_lock = threading.Lock()

    def serials(self) -> Sequence[int]:
        """Lists the devices. Opens only those that were plugged in since, and those that could not be read before."""
        with self._search_lock:
            readers = self._readers()
            now = self._insertions(list(readers))
            self._identified = {
                name: (at, serial) for name, (at, serial) in self._identified.items() if now.get(name) == at
            }
            for name in now.keys() - self._identified.keys():
                with (
                    contextlib.suppress(DeviceBusyError),
                    ReaderConnection(self._pcsc, readers[name], timeout_s=0) as connection,
                ):
                    self._identified[name] = (now[name], _serial_of(connection))
            self._reader_names = {serial: name for name, (_, serial) in self._identified.items() if serial is not None}
            return list(self._reader_names)

    def open(self, serial: int) -> SmartCardConnection:
        with self._search_lock:
            errors: list[DeviceBusyError] = []
            readers = self._readers()
            occupied = self._insertions(list(readers))
            for name in sorted(occupied, key=lambda name: name != self._reader_names.get(serial)):
                with contextlib.ExitStack() as on_mismatch:
                    try:
                        connection = ReaderConnection(self._pcsc, readers[name], self._connect_timeout_s)
                        on_mismatch.callback(connection.close)
                        found = _serial_of(connection)
                    except DeviceBusyError as error:
                        errors.append(error)
                        continue
                    if found == serial:
                        on_mismatch.pop_all()
                        self._reader_names[serial] = name
                        return connection
        if errors:
            raise DeviceBusyError(f"YubiKey {serial} was not found, but one reader could not be read: {errors[0]}")
        raise DeviceAbsentError(serial)

    def _readers(self) -> dict[str, Any]:
        """Readers of YubiKeys, by name."""
        try:
            # Not scan_devices or list_all_devices: they return "no YubiKeys" when pcscd is away.
            return {device.reader.name: device.reader for device in self._pcsc.list_devices()}
        except Exception as error:
            if not hasattr(error, "hresult"):
                raise
            raise DeviceBusyError("the smart card service of this machine (pcscd) does not answer") from error

    def _insertions(self, names: list[str]) -> dict[str, int]:
        """Card event counter (PC/SC) of each reader that has a card."""
        if not names:
            return {}
        scard = self._scard
        _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        try:
            states_before = [(name, scard.SCARD_STATE_UNAWARE) for name in names]
            _, states = scard.SCardGetStatusChange(context, 0, states_before)
        finally:
            scard.SCardReleaseContext(context)
        return {name: state >> 16 for name, state, _ in states if state & scard.SCARD_STATE_PRESENT}


class ReaderConnection(SmartCardConnection):
    """An exclusive connection to the device in one reader. Errors of pyscard become DeviceBusyError."""

    def __init__(self, pcsc: ModuleType, reader: Any, timeout_s: float) -> None:
        self._errors = (pcsc.CardConnectionException, pcsc.NoCardException)
        self._reader = reader.name
        deadline = time.monotonic() + timeout_s
        while True:
            exclusive = pcsc.ExclusiveConnectCardConnection(reader.createConnection())
            try:
                self._connection: SmartCardConnection = pcsc.ScardSmartCardConnection(exclusive)
            except self._errors as error:
                self._release(exclusive)
                if time.monotonic() > deadline:
                    raise DeviceBusyError(f"{self._reader} is in use by another program, or empty") from error
                time.sleep(_RETRY_INTERVAL_S)  # device operations run on a thread of their own
            else:
                return

    @property
    def transport(self) -> TRANSPORT:
        return self._connection.transport

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        try:
            return self._connection.send_and_receive(apdu)
        except self._errors as error:
            raise DeviceBusyError(f"the YubiKey in {self._reader} was removed or reset while it was in use") from error

    def close(self) -> None:
        with contextlib.suppress(*self._errors):  # pcscd may be gone
            self._connection.close()

    @staticmethod
    def _release(connection: Any) -> None:
        if hasattr(connection, "release"):
            connection.release()


def _serial_of(connection: SmartCardConnection) -> int | None:
    """Reads the serial number; None for firmware before 5.0.3, or if PIV is switched off.

    Raises DeviceBusyError if the device was removed, or returned an error that can be temporary.
    """
    try:
        return PivSession(connection).get_serial()
    except (ApplicationNotAvailableError, NotSupportedError):
        return None
    except ApduError as error:
        raise DeviceBusyError(f"a YubiKey does not report its serial number at the moment ({error.sw:04x})") from error


def _pyscard(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unusable("YUBIKEY_PCSC=1 needs pyscard, which is not installed (docs/operations)") from error
