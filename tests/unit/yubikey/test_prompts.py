"""The prompt aggregate: answers, cancellation and end."""

from datetime import timedelta

from services.yubikey.core.prompts import PROMPT
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.prompts import (
    AnswerPrompt,
    CancelPrompt,
    PromptAnswered,
    PromptKind,
    PromptOutcome,
    PromptRaised,
    PromptSettled,
)
from shared.contracts.yubikey.slots import Slot
from tests.support.scenario import NOON, Scenario

ID = {"prompt_id": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f"}
ABOUT = {
    "serial": "42000001",
    "slot": Slot.AUTHENTICATION,
    "command_id": "0192f0c1-7b1e-7cc3-98c4-dc0c0c073990",
    "command_type": "X",
    "deadline": NOON + timedelta(minutes=3),
}
FOR_PIN = PromptRaised(**ID, **ABOUT, wanted=PromptKind.PIN, recipient_public_key=bytes(32))
FOR_TOUCH = PromptRaised(**ID, **ABOUT, wanted=PromptKind.TOUCH)
ANSWER, ANSWERED = AnswerPrompt(**ID, sealed_pin=b"sealed"), PromptAnswered(**ID, sealed_pin=b"sealed")

prompt = Scenario(PROMPT)


def settled(outcome):
    return PromptSettled(**ID, outcome=outcome)


def test_a_pin_is_given():
    prompt.given(FOR_PIN).when(ANSWER).then(ANSWERED)


def test_given_twice_it_stands_and_another_comes_too_late():
    prompt.given(FOR_PIN, ANSWERED).when(ANSWER).then_already_done()
    other = AnswerPrompt(**ID, sealed_pin=b"other")
    prompt.given(FOR_PIN, ANSWERED).when(other).then_rejects(RejectionCode.CONFLICT, "answered")


def test_a_touch_is_not_given_by_message():
    prompt.given(FOR_TOUCH).when(ANSWER).then_rejects(RejectionCode.INVALID, "touch the device")


def test_nobody_answers_what_nobody_asks():
    prompt.given().when(ANSWER).then_rejects(RejectionCode.NOT_FOUND)
    prompt.given().when(CancelPrompt(**ID)).then_rejects(RejectionCode.NOT_FOUND)


def test_after_its_end_or_its_deadline_it_takes_no_answer():
    prompt.given(FOR_PIN, settled(PromptOutcome.EXPIRED)).when(ANSWER).then_rejects(RejectionCode.CONFLICT)
    late = NOON + timedelta(minutes=4)
    prompt.given(FOR_PIN).when(ANSWER, at=late).then_rejects(RejectionCode.CONFLICT)


def test_it_is_cancelled_once_and_not_after_its_end():
    cancelled = settled(PromptOutcome.CANCELLED)
    prompt.given(FOR_TOUCH).when(CancelPrompt(**ID)).then(cancelled)
    prompt.given(FOR_TOUCH, cancelled).when(CancelPrompt(**ID)).then_already_done()
    done = settled(PromptOutcome.DONE)
    prompt.given(FOR_TOUCH, done).when(CancelPrompt(**ID)).then_rejects(RejectionCode.CONFLICT, "done")
