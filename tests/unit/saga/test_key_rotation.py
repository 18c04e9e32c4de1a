"""Key rotation: whatever fails, one of the two keys remains, with its certificates."""

from datetime import timedelta

from services.saga.definitions.key_rotation import KEY_ROTATION
from tests.kit import Conversation
from tests.unit.saga.test_any_order import ONE, ROTATION

OF_ONE = ROTATION.model_copy(update={"certificate_ids": (ONE,)})
REISSUE = f"reissue-{ONE}"


def rotated():
    """The keys have changed places, and the overlap has begun."""
    return Conversation(KEY_ROTATION, OF_ONE).complete("generate-successor").complete(REISSUE).complete("rotate-key")


def test_the_keys_change_places_when_the_certificates_are_issued_and_not_before():
    talk = Conversation(KEY_ROTATION, OF_ONE).complete("generate-successor")

    assert talk.pending == [REISSUE]
    assert talk.complete(REISSUE).pending == ["rotate-key"]


def test_a_certificate_that_is_not_issued_leaves_the_old_key_as_it_is():
    talk = Conversation(KEY_ROTATION, OF_ONE).complete("generate-successor").reject(REISSUE).run()

    assert talk.phase == "compensated"
    assert "rotate-key" not in talk.sent


def test_cancelled_within_the_overlap_the_old_key_stays_and_the_new_one_goes():
    talk = rotated().cancel().run()

    assert talk.phase == "compensated"
    assert talk.sent[3:] == [
        "undo.rotate-key",
        f"undo.{REISSUE}",
        "undo.generate-successor",
        "undo.generate-successor",
    ]


def test_cancelled_too_late_the_new_key_and_its_certificates_are_kept_and_that_is_said():
    talk = rotated().cancel()
    for _ in range(3):
        talk = talk.reject("undo.rotate-key").wait(timedelta(minutes=5))

    assert talk.run().phase == "failed"
    assert talk.left_over == ["rotate-key", REISSUE, "generate-successor"]
    assert {label for label in talk.sent if label.startswith("undo.")} == {"undo.rotate-key"}
