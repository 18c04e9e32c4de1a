"""Decider of the prompt aggregate: a request to the person at a device for a touch or a PIN. Pure.

The process that waits for the answer appends `PromptRaised` and `PromptSettled` itself: no command precedes them.
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
    """Progress of a prompt."""

    UNKNOWN = "unknown"
    OPEN = "open"
    ANSWERED = "answered"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """State of the prompt aggregate. *wanted*: the input of the person; a stored name, like all field names."""

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
            if prompt.outcome is PromptOutcome.CANCELLED:
                return AlreadyDone()
            return Rejection(RejectionCode.CONFLICT, f"the prompt has ended already: {prompt.outcome}")
        case CancelPrompt():
            return PromptSettled(prompt_id=command.prompt_id, outcome=PromptOutcome.CANCELLED)
        case _:
            assert_never(command)


def _answer(prompt: Prompt, prompt_id: str, sealed: bytes, at: datetime) -> PromptEvent | Rejection | AlreadyDone:
    if prompt.wanted is not PromptKind.PIN:
        return Rejection(RejectionCode.INVALID, "the prompt is for a touch: touch the device")
    if prompt.sealed_pin == sealed.hex():
        return AlreadyDone()
    if prompt.phase is not Phase.OPEN or (prompt.deadline is not None and at > prompt.deadline):
        return Rejection(RejectionCode.CONFLICT, "the prompt is answered already, or has expired")
    return PromptAnswered(prompt_id=prompt_id, sealed_pin=sealed)


def evolve(prompt: Prompt, event: PromptEvent) -> Prompt:
    match event:
        case PromptRaised(wanted=kind, deadline=deadline):
            return Prompt(phase=Phase.OPEN, wanted=kind, deadline=deadline)
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
