"""What people are asked for at a device, and what they answer. Pure.

Raised and settled by the process that waits, which appends those two itself: it decides nothing then, it only says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn, assert_never, get_args

from pydantic import TypeAdapter

from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.prompts import (
    AnswerPrompt,
    CancelPrompt,
    PromptAnswered,
    PromptCommand,
    PromptEvent,
    PromptKind,
    PromptOutcome,
    PromptRaised,
    PromptSettled,
)
from shared.decider import AlreadyDone, Context, Decider, Rejection


class Phase(StrEnum):
    UNKNOWN = "unknown"
    OPEN = "open"
    ANSWERED = "answered"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Prompt:
    phase: Phase = Phase.UNKNOWN
    wanted: PromptKind = PromptKind.TOUCH
    deadline: datetime | None = None
    sealed_pin: str = ""
    outcome: PromptOutcome | None = None


def decide(prompt: Prompt, command: PromptCommand, context: Context) -> PromptEvent | Rejection | AlreadyDone:
    if prompt.phase is Phase.UNKNOWN:
        return Rejection(RejectionCode.NOT_FOUND, f"there is no prompt {command.prompt_id}")
    match command:
        case AnswerPrompt(sealed_pin=sealed):
            return _answer(prompt, command.prompt_id, sealed, context.at)
        case CancelPrompt() if prompt.phase is Phase.SETTLED:
            stands = prompt.outcome is PromptOutcome.CANCELLED
            return AlreadyDone() if stands else Rejection(RejectionCode.CONFLICT, f"it is over: {prompt.outcome}")
        case CancelPrompt():
            return PromptSettled(prompt_id=command.prompt_id, outcome=PromptOutcome.CANCELLED)
        case _:
            assert_never(command)


def _answer(prompt: Prompt, prompt_id: str, sealed: bytes, at: datetime) -> PromptEvent | Rejection | AlreadyDone:
    if prompt.wanted is not PromptKind.PIN:
        return Rejection(RejectionCode.INVALID, "it asks for a touch: that is answered at the device")
    if prompt.sealed_pin == sealed.hex():
        return AlreadyDone()
    if prompt.phase is not Phase.OPEN or (prompt.deadline is not None and at > prompt.deadline):
        return Rejection(RejectionCode.CONFLICT, "it is answered, or nobody waits for it any more")
    return PromptAnswered(prompt_id=prompt_id, sealed_pin=sealed)


def evolve(prompt: Prompt, event: PromptEvent) -> Prompt:
    match event:
        case PromptRaised(wanted=wanted, deadline=deadline):
            return Prompt(Phase.OPEN, wanted, deadline)
        case PromptAnswered(sealed_pin=sealed):
            return replace(prompt, phase=Phase.ANSWERED, sealed_pin=sealed.hex())
        case PromptSettled(outcome=outcome):
            return replace(prompt, phase=Phase.SETTLED, outcome=outcome)
        case _:
            assert_never(event)


PROMPT: Decider[Prompt, PromptCommand, PromptEvent, NoReturn, Any] = Decider(
    Prompt(),
    decide,
    evolve,
    commands=get_args(PromptCommand),
    events=get_args(PromptEvent),
    states=TypeAdapter(Prompt),
)
