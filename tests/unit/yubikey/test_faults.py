"""Fault injection: removal, power cut, error status, delay and missing touch."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st
from yubikit.core.smartcard import SW, ApduError
from yubikit.piv import (
    DEFAULT_MANAGEMENT_KEY,
    KEY_TYPE,
    MANAGEMENT_KEY_TYPE,
    PIN_POLICY,
    SLOT,
    TOUCH_POLICY,
    PivSession,
)

from services.virtual_yubikey import VirtualYubiKeys
from services.virtual_yubikey.faults import (
    Delay,
    ErrorStatus,
    PowerCut,
    PowerLostError,
    Removal,
    at_apdu,
    at_instruction,
)
from tests.support.yubikeys import SERIAL

GENERATE, AUTHENTICATE = 0x47, 0x87
MESSAGE = b"a message"


@pytest.fixture(name="yubikeys")
def _yubikeys(tmp_path):
    return VirtualYubiKeys(tmp_path, bytes(32), [SERIAL])


def opened(yubikeys, serial=SERIAL):
    return PivSession(yubikeys.open(serial))


def administrator(yubikeys):
    session = opened(yubikeys)
    session.authenticate(DEFAULT_MANAGEMENT_KEY)
    return session


def generated(session, touch=TOUCH_POLICY.NEVER):
    return session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.NEVER, touch)


def signed(session):
    return session.sign(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, MESSAGE, hashes.SHA256())


def is_empty(yubikeys):
    try:
        opened(yubikeys).get_slot_metadata(SLOT.AUTHENTICATION)
    except ApduError as error:
        return error.sw == SW.REFERENCE_DATA_NOT_FOUND
    return False


@pytest.mark.parametrize("after", [False, True])
def test_power_is_cut_before_or_after_what_is_asked_is_done(yubikeys, after):
    session = administrator(yubikeys)
    yubikeys.inject_faults(SERIAL, at_instruction(GENERATE, PowerCut(after=after)))

    with pytest.raises(PowerLostError):
        generated(session)
    yubikeys.inject_faults(SERIAL, None)
    with pytest.raises(PowerLostError):
        session.get_serial()  # that connection is gone for good
    assert is_empty(yubikeys) is not after


def test_what_was_proved_is_forgotten_without_power(yubikeys):
    administrator(yubikeys)
    yubikeys.unplug(SERIAL)
    yubikeys.plug_in(SERIAL)

    with pytest.raises(ApduError) as refused:
        generated(opened(yubikeys))
    assert refused.value.sw == SW.SECURITY_CONDITION_NOT_SATISFIED


def test_an_unplugged_device_is_not_there_until_it_is_plugged_in_again(yubikeys):
    session = opened(yubikeys)
    yubikeys.unplug(SERIAL)
    assert yubikeys.serials() == []
    with pytest.raises(PowerLostError):
        session.get_serial()
    with pytest.raises(KeyError):
        yubikeys.open(SERIAL)

    yubikeys.plug_in(SERIAL)
    assert yubikeys.serials() == [SERIAL]
    assert opened(yubikeys).get_serial() == SERIAL


def test_a_fault_may_unplug_the_device(yubikeys):
    session = administrator(yubikeys)
    yubikeys.inject_faults(SERIAL, at_apdu(0, Removal()))
    with pytest.raises(PowerLostError):
        generated(session)
    assert yubikeys.serials() == []


def test_another_device_is_plugged_in_while_the_first_is_used(yubikeys):
    session = opened(yubikeys)
    yubikeys.plug_in(7, (5, 4, 3))

    assert (opened(yubikeys, 7).get_serial(), session.get_serial()) == (7, SERIAL)
    assert tuple(opened(yubikeys, 7).version) == (5, 4, 3)
    assert yubikeys.serials() == [SERIAL, 7]
    with pytest.raises(ValueError, match="not a serial number"):
        yubikeys.plug_in(0)


def test_it_refuses_with_the_status_word_that_is_asked_for_and_counts_its_apdus(yubikeys):
    session = administrator(yubikeys)
    yubikeys.inject_faults(SERIAL, at_apdu(1, ErrorStatus(SW.NO_SPACE)))

    session.get_serial()
    with pytest.raises(ApduError) as refused:
        generated(session)
    assert refused.value.sw == SW.NO_SPACE
    assert yubikeys.apdu_count(SERIAL) == 2
    yubikeys.inject_faults(SERIAL, at_apdu(0, Delay(0.01)))
    generated(session)


@pytest.mark.parametrize("policy", [TOUCH_POLICY.ALWAYS, TOUCH_POLICY.CACHED])
def test_a_key_that_wants_a_touch_signs_when_it_is_touched_and_else_not(yubikeys, policy):
    generated(administrator(yubikeys), policy)
    touch_sensor = yubikeys.touch_sensor(SERIAL)
    touch_sensor.script.extend([None, 0.01])

    with pytest.raises(ApduError) as refused:
        signed(opened(yubikeys))
    assert refused.value.sw == SW.SECURITY_CONDITION_NOT_SATISFIED
    assert signed(opened(yubikeys))
    touch_sensor.script.append(None)
    if policy is TOUCH_POLICY.CACHED:
        assert signed(opened(yubikeys))  # the touch of a moment ago serves
        assert touch_sensor.blinks == 2
    else:
        with pytest.raises(ApduError):
            signed(opened(yubikeys))


def test_a_key_that_wants_no_touch_does_not_blink(yubikeys):
    generated(administrator(yubikeys))
    signed(opened(yubikeys))

    assert yubikeys.touch_sensor(SERIAL).blinks == 0


def test_a_management_key_may_want_a_touch(yubikeys):
    session = administrator(yubikeys)
    session.set_management_key(MANAGEMENT_KEY_TYPE.AES192, bytes(24), require_touch=True)
    yubikeys.touch_sensor(SERIAL).script.append(None)

    with pytest.raises(ApduError) as refused:
        opened(yubikeys).authenticate(bytes(24))
    assert refused.value.sw == SW.SECURITY_CONDITION_NOT_SATISFIED
    opened(yubikeys).authenticate(bytes(24))


@given(number=st.integers(0, 40), after=st.booleans())
@settings(max_examples=40, deadline=None)
def test_wherever_power_is_cut_what_is_kept_can_be_read_and_is_what_the_device_has(tmp_path_factory, number, after):
    directory = tmp_path_factory.mktemp("yubikeys")
    yubikeys = VirtualYubiKeys(directory, bytes(32), [SERIAL])
    yubikeys.inject_faults(SERIAL, at_apdu(number, PowerCut(after=after)))
    try:
        session = administrator(yubikeys)
        generated(session)
        session.verify_pin("123456")
        session.set_pin_attempts(5, 6)
        session.change_pin("123456", "654321")
        session.put_object(0x5FC102, b"x" * 2000)
        session.delete_key(SLOT.AUTHENTICATION)
    except PowerLostError:
        pass
    yubikeys.inject_faults(SERIAL, None)

    again = VirtualYubiKeys(directory, bytes(32), [SERIAL])
    here, there = opened(yubikeys), opened(again)
    assert here.get_pin_metadata() == there.get_pin_metadata()
    assert here.get_management_key_metadata() == there.get_management_key_metadata()
    assert is_empty(yubikeys) is is_empty(again)


@given(apdus=st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=200, deadline=None)
def test_whatever_is_sent_is_answered_with_a_status_word(tmp_path_factory, apdus):
    connection = VirtualYubiKeys(tmp_path_factory.mktemp("yubikeys"), bytes(32), [SERIAL]).open(SERIAL)
    connection.send_and_receive(bytes.fromhex("00A4040005A000000308"))
    for apdu in apdus:
        data, status = connection.send_and_receive(apdu)

        assert 0x6000 <= status <= 0x9FFF
        assert len(data) <= 0x10000
