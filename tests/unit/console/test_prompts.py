"""Prompts for people at a device, as `watch` prints them."""

import json

import pytest

from services.console.watch import WatchFormatter
from services.console.wire_message import WireMessage

BODY = {
    "prompt_id": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
    "serial": "42000001",
    "slot": "9a",
    "command_type": "GenerateSlotKey",
    "deadline": "2026-11-20T12:03:00Z",
}


def line(**changes):
    subject = f"keys.events.prompt.raised.{BODY['prompt_id']}"
    return (
        WatchFormatter()
        .line(WireMessage(subject, {"CIM-Source": "yubikey"}, json.dumps(BODY | changes).encode()))
        .plain
    )


@pytest.mark.parametrize(
    ("kind", "words"), [("touch", "touch YubiKey 42000001 now"), ("pin", "enter the PIN of YubiKey 42000001")]
)
def test_it_says_what_to_do_for_what_and_until_when(kind, words):
    text = line(wanted=kind)

    assert words in text
    assert "GenerateSlotKey waits until 2026-11-20" in text


def test_whatever_else_is_published_there_is_shown_all_the_same():
    assert "waits until ?" in line(watch_filter={"no": "word"}, deadline=None)
