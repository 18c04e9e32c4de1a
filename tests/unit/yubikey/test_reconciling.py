"""Comparison of a newly leased device with its intents and the log."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.yubikey.core.states import SlotContent
from services.yubikey.performer.reconciliation import SlotComparison, compare
from services.yubikey.piv.attestation import fingerprint_of
from services.yubikey.piv.slots import public_pem
from services.yubikey.state.intents import Intent

KEYS = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2)]
OLD, NEW = map(public_pem, KEYS)
CONTENT = SlotContent("key", OLD)


@pytest.mark.parametrize(
    ("begun", "on_the_device", "in_the_log", "found"),
    [
        (False, OLD, CONTENT, SlotComparison.MATCHES),
        (False, None, None, SlotComparison.MATCHES),
        (False, NEW, CONTENT, SlotComparison.DIFFERS),
        (False, NEW, None, SlotComparison.DIFFERS),
        (False, None, CONTENT, SlotComparison.DIFFERS),
        (True, OLD, CONTENT, SlotComparison.NOT_PERFORMED),
        (True, None, None, SlotComparison.NOT_PERFORMED),
        (True, NEW, None, SlotComparison.NOT_REPORTED),  # filled
        (True, NEW, CONTENT, SlotComparison.NOT_REPORTED),  # replaced
        (True, None, CONTENT, SlotComparison.NOT_REPORTED),  # cleared
    ],
)
def test_by_what_the_device_and_the_log_say(begun, on_the_device, in_the_log, found):
    assert compare(Intent(), on_the_device, in_the_log, begun=begun) is found


def test_a_key_that_could_only_be_destroyed_by_another_is_no_key():
    intent = Intent(discarded=fingerprint_of(KEYS[1]))

    assert compare(intent, NEW, None, begun=False) is SlotComparison.MATCHES
