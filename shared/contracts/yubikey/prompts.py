"""What only a person at a device can do: touch it, or say its PIN. Raised while a command waits for it."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.base import Base64, Command, DeviceSerial, Event, Id, Message, Text
from shared.contracts.yubikey.slots import AnySlot


class PromptKind(StrEnum):
    TOUCH = "touch"
    PIN = "pin"


class PromptOutcome(StrEnum):
    DONE = "done"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"  # what the person was asked for was not the trouble


class PromptMessage(Message):
    aggregate_type: ClassVar[str] = "prompt"
    identified_by: ClassVar[str] = "prompt_id"
    service: ClassVar[str] = "yubikey"

    prompt_id: Id


class AnswerPrompt(PromptMessage, Command):
    """Give the PIN that is asked for."""

    sealed_pin: Base64 = Field(
        min_length=1,
        max_length=1024,
        description="HPKE (X25519, HKDF-SHA256, AES-256-GCM) to the prompt's key, "
        "with the info cim-keys/prompt-pin/v1/<serial>/<prompt_id>",
    )


class CancelPrompt(PromptMessage, Command):
    """Nobody will come: what waits is refused now."""


class PromptRaised(PromptMessage, Event):
    serial: DeviceSerial
    slot: AnySlot | None = Field(description="none: it is about the device as a whole")
    wanted: PromptKind
    command_id: Id = Field(description="the command that waits; this is no answer to it")
    command_type: Text
    deadline: AwareDatetime = Field(description="until when it waits")
    recipient_public_key: Base64 | None = Field(
        default=None, description="X25519, raw; of this prompt alone, and only where a PIN is wanted"
    )


class PromptAnswered(PromptMessage, Event):
    sealed_pin: Base64


class PromptSettled(PromptMessage, Event):
    outcome: PromptOutcome


PromptCommand = AnswerPrompt | CancelPrompt
PromptEvent = PromptRaised | PromptAnswered | PromptSettled


def pin_info(serial: str, prompt_id: str) -> bytes:
    """HPKE's `info` for a PIN: sealed for one device and one prompt, it opens for no other."""
    return f"cim-keys/prompt-pin/v1/{serial}/{prompt_id}".encode()
