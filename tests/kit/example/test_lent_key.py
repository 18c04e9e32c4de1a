"""Tests of the saga that lends a key."""

from datetime import timedelta

from tests.kit import Conversation, explore
from tests.kit.example.lent_key import LENT_KEY, StartLentKey

REQUEST = StartLentKey(recipient_public_key=bytes(32))


def test_the_key_is_handed_over_after_an_approval_and_revoked_after_a_month():
    saga = Conversation(LENT_KEY, REQUEST)

    saga.complete("make-key").signal("bob").complete("hand-over").wait(timedelta(days=29))
    assert saga.pending == ["month"]
    saga.wait(timedelta(days=2)).complete("revoke")

    assert saga.phase == "completed"


def test_without_approval_there_is_no_key():
    saga = Conversation(LENT_KEY, REQUEST).complete("make-key").wait(timedelta(days=8)).run()

    assert saga.sent == ["make-key", "undo.make-key", "undo.make-key"]
    assert saga.phase == "compensated"


def test_after_the_key_is_handed_over_nothing_is_undone():
    saga = Conversation(LENT_KEY, REQUEST).complete("make-key").signal("bob").complete("hand-over")

    assert saga.wait(timedelta(days=31)).reject("revoke").stuck == ["revoke"]


def test_every_path_ends_as_it_must():
    explore(LENT_KEY, REQUEST)
