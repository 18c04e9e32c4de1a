"""Checks with two slots of a reader: a device in each, swapped, and removed during an operation."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from yubikit.piv import DEFAULT_MANAGEMENT_KEY, KEY_TYPE, PIN_POLICY, SLOT, PivSession

from deploy.virtual_yubikey import PORT
from services.virtual_yubikey import VirtualYubiKeys
from services.virtual_yubikey.faults import PowerCut, Removal, at_instruction
from services.virtual_yubikey.reader import PoweredCard, ReaderSlot
from services.yubikey.errors import DeviceAbsentError, DeviceBusyError
from services.yubikey.readers.pcsc import PcscYubiKeys
from services.yubikey.trust import Trust

ONE, OTHER = 42_000_001, 42_000_002
SIGN = 0x87


@pytest.fixture(name="slots", scope="module")
def _slots():
    slots = [ReaderSlot(("127.0.0.1", PORT + number)) for number in range(2)]
    for slot in slots:
        threading.Thread(target=slot.serve, daemon=True).start()
    return slots


@pytest.fixture(name="readers")
def _readers():
    return PcscYubiKeys(Trust())


@pytest.fixture(name="yubikeys")
def _yubikeys(tmp_path, slots, readers):
    yubikeys = VirtualYubiKeys(tmp_path, bytes(32), [ONE, OTHER])
    put(slots, yubikeys, ONE, OTHER)
    at_last(lambda: set(readers.serials()) == {ONE, OTHER})
    for serial in (ONE, OTHER):
        with readers.open(serial) as connection:
            session = PivSession(connection)
            session.authenticate(DEFAULT_MANAGEMENT_KEY)
            session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.NEVER)
    yield yubikeys
    take_out(readers, slots)


def put(slots, yubikeys, *serials):
    for slot, serial in zip(slots, serials, strict=True):
        slot.card = PoweredCard(yubikeys, serial)


def take_out(readers, slots):
    for slot in slots:
        slot.card = None
    at_last(lambda: readers.serials() == [])


def swap(readers, slots, yubikeys):
    take_out(readers, slots)
    put(slots, yubikeys, OTHER, ONE)
    at_last(lambda: set(readers.serials()) == {ONE, OTHER})


def at_last(condition, within=15):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def signed(session, message):
    return session.sign(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, message, hashes.SHA256())


def has_signed(readers, serial, times=1):
    """True if the device with this serial number signs with the key that it reports."""
    with readers.open(serial) as connection:
        session = PivSession(connection)
        assert session.get_serial() == serial
        for number in range(times):
            message = f"{serial} {number}".encode()
            signature = signed(session, message)
            public_key = session.get_slot_metadata(SLOT.AUTHENTICATION).public_key
            public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    return True


@pytest.mark.usefixtures("yubikeys")
def test_each_is_found_by_its_serial_number(readers):
    assert has_signed(readers, ONE)
    assert has_signed(readers, OTHER)


@pytest.mark.usefixtures("yubikeys")
def test_they_are_worked_with_in_parallel(readers):
    with readers.open(ONE) as one, readers.open(OTHER) as other:
        sessions = {ONE: PivSession(one), OTHER: PivSession(other)}
        assert {serial: session.get_serial() for serial, session in sessions.items()} == {ONE: ONE, OTHER: OTHER}
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda serial: has_signed(readers, serial, times=40), (ONE, OTHER))) == [True, True]


def test_swapped_they_are_found_again(readers, slots, yubikeys):
    swap(readers, slots, yubikeys)

    assert has_signed(readers, ONE)
    assert has_signed(readers, OTHER)


def test_swapped_unnoticed_they_are_found_too(readers, slots, yubikeys):
    unaware = PcscYubiKeys(Trust())
    assert set(unaware.serials()) == {ONE, OTHER}
    swap(readers, slots, yubikeys)

    assert has_signed(unaware, ONE)
    assert has_signed(unaware, OTHER)


@pytest.mark.parametrize("after", [False, True], ids=["before it signed", "after it signed"])
def test_one_unplugged_in_mid_operation_leaves_the_other_untouched(readers, yubikeys, after):
    with ThreadPoolExecutor() as threads, readers.open(OTHER) as connection:
        other = PivSession(connection)
        going_on = threads.submit(lambda: [signed(other, b"") for _ in range(200)])
        yubikeys.inject_faults(ONE, at_instruction(SIGN, Removal(after=after)))
        with pytest.raises(DeviceBusyError, match="was removed or reset while it was in use"):
            has_signed(readers, ONE)
        assert len(going_on.result()) == 200
        assert other.get_serial() == OTHER
    at_last(lambda: readers.serials() == [OTHER])
    with pytest.raises(DeviceAbsentError):
        readers.open(ONE)

    yubikeys.inject_faults(ONE, None)
    yubikeys.plug_in(ONE)
    at_last(lambda: set(readers.serials()) == {ONE, OTHER})
    assert has_signed(readers, ONE)


def test_one_without_power_for_a_moment_has_forgotten_what_was_proved(readers, yubikeys):
    yubikeys.inject_faults(ONE, at_instruction(SIGN, PowerCut()))
    with pytest.raises(DeviceBusyError, match="was removed or reset while it was in use"):
        has_signed(readers, ONE)
    yubikeys.inject_faults(ONE, None)

    at_last(lambda: set(readers.serials()) == {ONE, OTHER})
    assert has_signed(readers, ONE)
