"""Checks of the PC/SC source of devices, run by pytest beside a virtual YubiKey in a reader."""

import pytest
from ykman import pcsc
from yubikit.core.smartcard import SmartCardConnection
from yubikit.piv import PivSession

from services.yubikey.errors import DeviceAbsentError, DeviceBusyError
from services.yubikey.readers.pcsc import PcscYubiKeys
from services.yubikey.trust import Trust
from tests.support.virtual_readers import SERIAL


@pytest.fixture(name="readers")
def _readers():
    return PcscYubiKeys(Trust())


def test_a_device_is_found_by_its_serial_number(readers):
    with readers.open(SERIAL) as connection:
        assert PivSession(connection).get_serial() == SERIAL
    assert SERIAL in list(readers.serials())


def test_one_that_is_not_there_is_absent(readers):
    with pytest.raises(DeviceAbsentError, match="is not plugged in"):
        readers.open(7)


def test_a_device_that_somebody_else_has_is_busy_and_free_afterwards(readers):
    with (
        readers.open(SERIAL),
        pytest.raises(DeviceBusyError, match="in use by another program"),
    ):
        PcscYubiKeys(Trust()).open(SERIAL)
    readers.open(SERIAL).close()


def test_it_is_had_alone(readers):
    with readers.open(SERIAL):
        (reader,) = [each for each in pcsc.list_devices() if "00 00" in each.reader.name]
        with pytest.raises(Exception, match=r"(?i)sharing|in use|connect"):
            reader.open_connection(SmartCardConnection)
