"""Commands and events about prompts: requests to a person at a device for a touch or a PIN."""

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
    FAILED = "failed"  # the device failed for another reason than the prompt


class PromptMessage(Message):
    aggregate_type: ClassVar[str] = "prompt"
    identified_by: ClassVar[str] = "prompt_id"
    service: ClassVar[str] = "yubikey"

    prompt_id: Id


class AnswerPrompt(PromptMessage, Command):
    """Answer the prompt with the PIN."""

    sealed_pin: Base64 = Field(
        min_length=1,
        max_length=1024,
        description="HPKE (X25519, HKDF-SHA256, AES-256-GCM) to the prompt's key, "
        "with the info cim-keys/prompt-pin/v1/<serial>/<prompt_id>",
    )


class CancelPrompt(PromptMessage, Command):
    """Cancel the prompt: the service rejects the waiting command."""


class PromptRaised(PromptMessage, Event):
    serial: DeviceSerial
    slot: AnySlot | None = Field(description="none: the prompt concerns the whole device")
    wanted: PromptKind
    command_id: Id = Field(description="the waiting command, to which this is no reply")
    command_type: Text
    deadline: AwareDatetime = Field(description="end of the wait")
    recipient_public_key: Base64 | None = Field(
        default=None, description="X25519, raw; for this prompt only, and only for a PIN"
    )


class PromptAnswered(PromptMessage, Event):
    sealed_pin: Base64


class PromptSettled(PromptMessage, Event):
    outcome: PromptOutcome


PromptCommand = AnswerPrompt | CancelPrompt
PromptEvent = PromptRaised | PromptAnswered | PromptSettled


def pin_info(serial: str, prompt_id: str) -> bytes:
    """Builds the HPKE `info` of a PIN: a PIN sealed for one device and prompt does not open for another."""
    return f"cim-keys/prompt-pin/v1/{serial}/{prompt_id}".encode()
