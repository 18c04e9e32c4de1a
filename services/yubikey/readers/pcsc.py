"""Real YubiKeys, over PC/SC. pyscard and pcscd are needed here and nowhere else, so they are imported when used.

Connections are exclusive and our own. ykman's opener falls back to a shared one, on which one client can write with
another's authentication, and kills whatever else may hold the reader (scdaemon, yubikey-agent).
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

_PATIENCE = 2.0
_AGAIN = 0.1


class PcscYubiKeys:
    """The YubiKeys in this machine's readers, found by serial number: reader names shift when one is plugged in."""

    simulated = False

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._pcsc = _pyscard("ykman.pcsc")
        self._scard = _pyscard("smartcard.scard")
        self._known: dict[str, tuple[int, int | None]] = {}
        self._last_seen: dict[int, str] = {}
        self._searching = threading.Lock()

    def serials(self) -> Sequence[int]:
        """Opens only what was plugged in since, and again what could not be read: in use, or reset in the midst."""
        with self._searching:
            readers = self._readers()
            now = self._insertions(list(readers))
            self._known = {name: (at, serial) for name, (at, serial) in self._known.items() if now.get(name) == at}
            for name in now.keys() - self._known.keys():
                with (
                    contextlib.suppress(DeviceBusyError),
                    ReaderConnection(self._pcsc, readers[name], patience=0) as connection,
                ):
                    self._known[name] = (now[name], _serial_of(connection))
            self._last_seen = {serial: name for name, (_, serial) in self._known.items() if serial is not None}
            return list(self._last_seen)

    def open(self, serial: int) -> SmartCardConnection:
        with self._searching:
            unread: list[DeviceBusyError] = []
            readers = self._readers()
            with_a_card = self._insertions(list(readers))
            for name in sorted(with_a_card, key=lambda name: name != self._last_seen.get(serial)):
                with contextlib.ExitStack() as unless_it_is_the_one:
                    try:
                        connection = ReaderConnection(self._pcsc, readers[name])
                        unless_it_is_the_one.callback(connection.close)
                        found = _serial_of(connection)
                    except DeviceBusyError as error:
                        unread.append(error)
                        continue
                    if found == serial:
                        unless_it_is_the_one.pop_all()
                        self._last_seen[serial] = name
                        return connection
        if unread:
            raise DeviceBusyError(f"YubiKey {serial} is not to be found, but not all can be asked: {unread[0]}")
        raise DeviceAbsentError(serial)

    def _readers(self) -> dict[str, Any]:
        """The readers of YubiKeys, by name."""
        try:
            # Not scan_devices, nor list_all_devices: they take it for "no YubiKeys" when pcscd is away.
            return {device.reader.name: device.reader for device in self._pcsc.list_devices()}
        except Exception as error:
            if not hasattr(error, "hresult"):
                raise
            raise DeviceBusyError("this machine's smart card service (pcscd) does not answer") from error

    def _insertions(self, names: list[str]) -> dict[str, int]:
        """Of the readers that have a card, how often one was put in or taken out: PC/SC counts it."""
        if not names:
            return {}
        scard = self._scard
        _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        try:
            asked = [(name, scard.SCARD_STATE_UNAWARE) for name in names]
            _, states = scard.SCardGetStatusChange(context, 0, asked)
        finally:
            scard.SCardReleaseContext(context)
        return {name: state >> 16 for name, state, _ in states if state & scard.SCARD_STATE_PRESENT}


class ReaderConnection(SmartCardConnection):
    """An exclusive connection to the device in one reader; pyscard's errors become ours."""

    def __init__(self, pcsc: ModuleType, reader: Any, patience: float | None = None) -> None:
        self._errors = (pcsc.CardConnectionException, pcsc.NoCardException)
        self._reader = reader.name
        deadline = time.monotonic() + (_PATIENCE if patience is None else patience)
        while True:
            exclusive = pcsc.ExclusiveConnectCardConnection(reader.createConnection())
            try:
                self._connection: SmartCardConnection = pcsc.ScardSmartCardConnection(exclusive)
            except self._errors as error:
                self._release(exclusive)
                if time.monotonic() > deadline:
                    raise DeviceBusyError(f"{self._reader} is in use by another program, or empty") from error
                time.sleep(_AGAIN)  # we run on a thread
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
    """None: it is too old to tell (before 5.0.3), or has PIV switched off. Raises DeviceBusyError where the device went
    away in the midst, or refuses for a reason that may pass: that says nothing of who it is.
    """
    try:
        return PivSession(connection).get_serial()
    except (ApplicationNotAvailableError, NotSupportedError):
        return None
    except ApduError as error:
        raise DeviceBusyError(f"a YubiKey does not tell its serial number now ({error.sw:04x})") from error


def _pyscard(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unusable("YUBIKEY_PCSC=1 needs pyscard, which is not installed (docs/operations)") from error
