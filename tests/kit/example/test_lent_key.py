"""What becomes of a key that is lent."""

from datetime import timedelta

from tests.kit import Conversation, explore
from tests.kit.example.lent_key import LENT_KEY, StartLentKey

REQUEST = StartLentKey(recipient_public_key=bytes(32))


def test_it_is_made_approved_handed_over_and_revoked_after_a_month():
    saga = Conversation(LENT_KEY, REQUEST)

    saga.answer("make-key").say("bob").answer("hand-over").wait(timedelta(days=29))
    assert saga.asking == ["month"]
    saga.wait(timedelta(days=2)).answer("revoke")

    assert saga.phase == "completed"


def test_without_approval_there_is_no_key():
    saga = Conversation(LENT_KEY, REQUEST).answer("make-key").wait(timedelta(days=8)).go_on()

    assert saga.asked == ["make-key", "undo.make-key", "undo.make-key"]
    assert saga.phase == "compensated"


def test_once_it_is_handed_over_there_is_only_forward():
    saga = Conversation(LENT_KEY, REQUEST).answer("make-key").say("bob").answer("hand-over")

    assert saga.wait(timedelta(days=31)).refuse("revoke").stuck == ["revoke"]


def test_whatever_goes_wrong_it_ends_as_it_must():
    explore(LENT_KEY, REQUEST)
