"""Readers: which device is in which, and what is said when that cannot be told. pyscard is played; hardware is not."""

import importlib
from types import SimpleNamespace

import pytest
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from services.yubikey.attestation import Trust
from services.yubikey.directory import DeviceAbsentError, DeviceBusyError
from services.yubikey.pcsc import PcscYubiKeys
from services.yubikey.piv import opened
from shared.errors import Unusable
from tests.support.yubikeys import OTHER, SERIAL, plugged_in


@pytest.fixture(name="devices")
def _devices(tmp_path):
    return plugged_in(tmp_path)


class Readers:
    """What `ykman.pcsc` looks like to us: readers, and pyscard's exceptions."""

    class CardConnectionException(Exception):
        hresult = 0x8010000B

    class NoCardException(Exception):
        hresult = 0x8010000C

    def __init__(self, devices, **readers):
        self.readers = [SimpleNamespace(name=name, createConnection=lambda at=at: at) for name, at in readers.items()]
        self.opened = []
        self.away = False
        outer = self

        class Connection(SmartCardConnection):
            transport = TRANSPORT.USB

            def __init__(self, serial):
                if serial is None:
                    raise outer.CardConnectionException
                outer.opened.append(serial)
                self.inner = devices.open(serial)

            def send_and_receive(self, apdu):
                if outer.away:
                    raise outer.CardConnectionException
                return self.inner.send_and_receive(apdu)

            def close(self):
                if outer.away:
                    raise outer.CardConnectionException

        self.ScardSmartCardConnection = Connection

    def ExclusiveConnectCardConnection(self, connection):  # noqa: N802 - pyscard's name
        return connection

    def list_devices(self):
        return [SimpleNamespace(reader=reader) for reader in self.readers]


class TestReaders:
    @pytest.fixture(name="plug_in")
    def _plug_in(self, devices, monkeypatch):
        monkeypatch.setattr("services.yubikey.pcsc._PATIENCE", 0)

        def plug_in(**readers):
            pcsc = Readers(devices, **readers)
            monkeypatch.setattr(importlib, "import_module", lambda _: pcsc)
            return pcsc, PcscYubiKeys(Trust())

        return plug_in

    def test_a_device_is_found_by_its_serial_number_and_first_where_it_was(self, plug_in):
        pcsc, yubikeys = plug_in(first=OTHER, second=SERIAL)

        for _ in range(2):
            yubikeys.open(SERIAL).close()

        assert pcsc.opened == [OTHER, SERIAL, SERIAL]

    def test_no_reader_with_it_means_absent(self, plug_in):
        with pytest.raises(DeviceAbsentError):
            plug_in(first=OTHER)[1].open(SERIAL)

    def test_where_another_program_has_a_reader_nobody_can_tell(self, plug_in):
        with pytest.raises(DeviceBusyError, match="another program"):
            plug_in(first=None, second=OTHER)[1].open(SERIAL)

    def test_a_device_that_is_pulled_out_can_be_asked_again_later(self, plug_in):
        pcsc, yubikeys = plug_in(first=SERIAL)
        connection = yubikeys.open(SERIAL)
        pcsc.away = True

        with pytest.raises(DeviceBusyError, match="removed"), opened(connection, SERIAL, yubikeys, bytes(24)):
            pass

    def test_without_pyscard_the_service_is_unusable(self, monkeypatch):
        def missing(_):
            raise ImportError

        monkeypatch.setattr(importlib, "import_module", missing)

        with pytest.raises(Unusable, match="pyscard"):
            PcscYubiKeys(Trust())
