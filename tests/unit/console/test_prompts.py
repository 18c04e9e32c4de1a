"""What a person at a device is told by who watches."""

import json

import pytest

from services.console.watch import Lines
from services.console.wire_message import Heard

BODY = {
    "prompt_id": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
    "serial": "42000001",
    "slot": "9a",
    "command_type": "GenerateSlotKey",
    "deadline": "2026-11-20T12:03:00Z",
}


def line(**changes):
    subject = f"keys.events.prompt.raised.{BODY['prompt_id']}"
    return Lines().line(Heard(subject, {"CIM-Source": "yubikey"}, json.dumps(BODY | changes).encode())).plain


@pytest.mark.parametrize(
    ("wanted", "words"), [("touch", "touch YubiKey 42000001 now"), ("pin", "the PIN of YubiKey 42000001 is wanted")]
)
def test_it_says_what_to_do_for_what_and_until_when(wanted, words):
    told = line(wanted=wanted)

    assert words in told
    assert "GenerateSlotKey waits until 2026-11-20" in told


def test_whatever_else_is_published_there_is_shown_all_the_same():
    assert "waits until ?" in line(wanted={"no": "word"}, deadline=None)
