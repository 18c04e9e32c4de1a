"""What is said of a slot that was taken over with its device."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.yubikey.core.states import SlotContent
from services.yubikey.performer.reconciliation import Finding, finding
from services.yubikey.piv.attestation import fingerprint_of
from services.yubikey.piv.slots import public_pem
from services.yubikey.state.intents import Intent

KEYS = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2)]
OLD, NEW = map(public_pem, KEYS)
CONTENT = SlotContent("key", OLD)


@pytest.mark.parametrize(
    ("begun", "on_the_device", "in_the_log", "found"),
    [
        (False, OLD, CONTENT, Finding.AGREES),
        (False, None, None, Finding.AGREES),
        (False, NEW, CONTENT, Finding.DIFFERS),
        (False, NEW, None, Finding.DIFFERS),
        (False, None, CONTENT, Finding.DIFFERS),
        (True, OLD, CONTENT, Finding.NOT_DONE),
        (True, None, None, Finding.NOT_DONE),
        (True, NEW, None, Finding.NOT_TOLD),  # filled
        (True, NEW, CONTENT, Finding.NOT_TOLD),  # replaced
        (True, None, CONTENT, Finding.NOT_TOLD),  # cleared
    ],
)
def test_by_what_the_device_and_the_log_say(begun, on_the_device, in_the_log, found):
    assert finding(Intent(), on_the_device, in_the_log, begun=begun) is found


def test_a_key_that_could_only_be_destroyed_by_another_is_no_key():
    intent = Intent(discarded=fingerprint_of(KEYS[1]))

    assert finding(intent, NEW, None, begun=False) is Finding.AGREES
