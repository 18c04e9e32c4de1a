"""PC/SC readers: search by serial number, and errors. pyscard is a fake; the devices are virtual."""

import importlib
from types import SimpleNamespace

import pytest
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SW, SmartCardConnection

from services.yubikey.errors import DeviceAbsentError, DeviceBusyError
from services.yubikey.piv.session import open_piv
from services.yubikey.readers.pcsc import PcscYubiKeys
from services.yubikey.trust import Trust
from shared.errors import Unusable
from tests.support.yubikeys import OTHER, SERIAL, plugged_in


@pytest.fixture(name="devices")
def _devices(tmp_path):
    return plugged_in(tmp_path)


class Readers:
    """Fake of `ykman.pcsc`: readers, and the exceptions of pyscard."""

    class CardConnectionException(Exception):
        hresult = 0x8010000B

    class NoCardException(Exception):
        hresult = 0x8010000C

    def __init__(self, devices, **readers):
        self.readers = [SimpleNamespace(name=name, createConnection=lambda at=at: at) for name, at in readers.items()]
        self.opened, self.closed = [], []
        self.insertions = dict.fromkeys(readers, 1)
        self.away = False
        self.says = None
        outer = self

        class Connection(SmartCardConnection):
            transport = TRANSPORT.USB

            def __init__(self, serial):
                if serial is None:
                    raise outer.CardConnectionException
                outer.opened.append(serial)
                self.serial = serial
                self.inner = devices.open(serial)

            def send_and_receive(self, apdu):
                if outer.away:
                    raise outer.CardConnectionException
                return self.inner.send_and_receive(apdu) if outer.says is None else (b"", outer.says)

            def close(self):
                outer.closed.append(self.serial)
                if outer.away:
                    raise outer.CardConnectionException

        self.ScardSmartCardConnection = Connection

    def ExclusiveConnectCardConnection(self, connection):  # noqa: N802 - pyscard's name
        return connection

    SCARD_SCOPE_USER, SCARD_STATE_UNAWARE, SCARD_STATE_PRESENT = 0, 0, 0x20

    def SCardEstablishContext(self, _):  # noqa: N802 - as above
        return 0, "context"

    def SCardReleaseContext(self, _):  # noqa: N802 - as above
        return 0

    def SCardGetStatusChange(self, _, __, asked):  # noqa: N802 - as above
        return 0, [(name, self.insertions[name] << 16 | (self.insertions[name] % 2 and 0x20), b"") for name, _ in asked]

    def list_devices(self):
        return [SimpleNamespace(reader=reader) for reader in self.readers]


class TestReaders:
    @pytest.fixture(name="plug_in")
    def _plug_in(self, devices, monkeypatch):
        def plug_in(**readers):
            pcsc = Readers(devices, **readers)
            monkeypatch.setattr(importlib, "import_module", lambda _: pcsc)
            return pcsc, PcscYubiKeys(Trust(), connect_timeout_s=0)

        return plug_in

    def test_a_device_is_found_by_its_serial_number_and_first_where_it_was(self, plug_in):
        pcsc, yubikeys = plug_in(first=OTHER, second=SERIAL)

        for _ in range(2):
            yubikeys.open(SERIAL).close()

        assert pcsc.opened == [OTHER, SERIAL, SERIAL]

    def test_looking_which_are_there_opens_only_what_was_plugged_in_since(self, plug_in):
        pcsc, yubikeys = plug_in(first=OTHER, second=SERIAL)

        assert [sorted(yubikeys.serials()) for _ in range(3)] == [[SERIAL, OTHER]] * 3
        assert sorted(pcsc.opened) == [SERIAL, OTHER]

        pcsc.readers = pcsc.readers[:1]
        assert yubikeys.serials() == [OTHER]

    def test_a_card_taken_out_of_its_reader_is_gone_and_put_back_it_is_looked_at_anew(self, plug_in):
        pcsc, yubikeys = plug_in(first=SERIAL)
        assert yubikeys.serials() == [SERIAL]

        pcsc.insertions["first"] += 1
        assert yubikeys.serials() == []
        pcsc.insertions["first"] += 1
        assert yubikeys.serials() == [SERIAL]
        assert pcsc.opened == [SERIAL, SERIAL]

    def test_what_another_program_has_is_looked_at_again_next_time(self, plug_in):
        pcsc, yubikeys = plug_in(first=None)
        assert yubikeys.serials() == []

        pcsc.readers[0].createConnection = lambda: SERIAL
        assert yubikeys.serials() == [SERIAL]

    def test_one_that_goes_away_while_it_is_read_is_looked_at_again_next_time(self, plug_in):
        pcsc, yubikeys = plug_in(first=SERIAL)
        pcsc.away = True
        assert yubikeys.serials() == []

        pcsc.away = False
        assert [yubikeys.serials() for _ in range(2)] == [[SERIAL]] * 2
        assert pcsc.opened == [SERIAL, SERIAL]

    @pytest.mark.parametrize("status", [0x6F00, SW.CONDITIONS_NOT_SATISFIED])
    def test_one_that_does_not_tell_now_is_looked_at_again_next_time(self, plug_in, status):
        pcsc, yubikeys = plug_in(first=SERIAL)
        pcsc.says = status
        assert yubikeys.serials() == []

        pcsc.says = None
        assert yubikeys.serials() == [SERIAL]

    def test_one_that_has_no_piv_is_not_looked_at_again_until_it_is_plugged_in_anew(self, plug_in):
        pcsc, yubikeys = plug_in(first=SERIAL)
        pcsc.says = SW.FILE_NOT_FOUND
        assert [yubikeys.serials() for _ in range(3)] == [[]] * 3
        assert pcsc.opened == [SERIAL]

        pcsc.says = None
        pcsc.insertions["first"] += 2
        assert yubikeys.serials() == [SERIAL]

    def test_where_one_cannot_be_read_nobody_can_tell_that_another_is_absent(self, plug_in):
        pcsc, yubikeys = plug_in(first=OTHER)
        pcsc.away = True

        with pytest.raises(DeviceBusyError, match="one reader could not be read: the YubiKey in first was removed"):
            yubikeys.open(SERIAL)
        assert pcsc.closed == [OTHER]

    def test_no_reader_with_it_means_absent(self, plug_in):
        with pytest.raises(DeviceAbsentError):
            plug_in(first=OTHER)[1].open(SERIAL)

    def test_an_empty_reader_says_no_more_than_none(self, plug_in):
        pcsc, yubikeys = plug_in(first=None)
        pcsc.insertions["first"] += 1

        with pytest.raises(DeviceAbsentError):
            yubikeys.open(SERIAL)

    def test_where_another_program_has_a_reader_nobody_can_tell(self, plug_in):
        with pytest.raises(DeviceBusyError, match="another program"):
            plug_in(first=None, second=OTHER)[1].open(SERIAL)

    def test_a_device_that_is_pulled_out_can_be_asked_again_later(self, plug_in):
        pcsc, yubikeys = plug_in(first=SERIAL)
        connection = yubikeys.open(SERIAL)
        pcsc.away = True

        with pytest.raises(DeviceBusyError, match="removed"), open_piv(connection, SERIAL, yubikeys, bytes(24)):
            pass

    def test_without_pyscard_the_service_is_unusable(self, monkeypatch):
        def missing(_):
            raise ImportError

        monkeypatch.setattr(importlib, "import_module", missing)

        with pytest.raises(Unusable, match="pyscard"):
            PcscYubiKeys(Trust())
