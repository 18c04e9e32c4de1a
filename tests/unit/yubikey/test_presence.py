"""Presence: one event for each change, whatever the order and number of reports."""

from services.yubikey.core.domain import YUBIKEY
from shared.contracts.yubikey.presence import ReportPresence, YubiKeyInserted, YubiKeyRemoved
from tests.support.scenario import Scenario

HERE, THERE = {"serial": "42000001", "agent": "here"}, {"serial": "42000001", "agent": "there"}
TOLD = {"simulated": True, "firmware": "5.7.4", "form_factor": "Keychain (USB-A)"}
INSERTED, ELSEWHERE = YubiKeyInserted(**HERE, **TOLD), YubiKeyInserted(**THERE, **TOLD)
REMOVED = YubiKeyRemoved(**HERE, simulated=True)
PLUGGED = ReportPresence(**HERE, **TOLD, present=True)
UNPLUGGED = ReportPresence(**HERE, simulated=True, present=False)

yubikey = Scenario(YUBIKEY)


def test_a_device_that_nobody_saw_is_inserted():
    yubikey.given().when(PLUGGED).then(INSERTED)


def test_a_repetition_is_not_told_twice():
    yubikey.given(INSERTED).when(PLUGGED).then_already_done()
    yubikey.given(INSERTED, REMOVED).when(UNPLUGGED).then_already_done()
    yubikey.given().when(UNPLUGGED).then_already_done()


def test_it_is_removed_and_inserted_again():
    yubikey.given(INSERTED).when(UNPLUGGED).then(REMOVED)
    yubikey.given(INSERTED, REMOVED).when(PLUGGED).then(INSERTED)


def test_moved_to_another_machine_it_is_inserted_there():
    yubikey.given(ELSEWHERE).when(PLUGGED).then(INSERTED)


def test_that_it_left_where_it_was_before_is_no_news():
    yubikey.given(INSERTED, ELSEWHERE).when(UNPLUGGED).then_already_done()
