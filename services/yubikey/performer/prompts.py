"""Prompts: requests a touch or a PIN from people, and waits for it.

The methods run on device threads, which may block as long as people take. Events are appended on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from yubikit.core.smartcard import SW, ApduError

from services.yubikey.core.prompts import Phase, Prompt
from services.yubikey.errors import DeviceError
from services.yubikey.state.sealing import SUITE
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.prompts import (
    PromptEvent,
    PromptKind,
    PromptOutcome,
    PromptRaised,
    PromptSettled,
    pin_info,
)
from shared.contracts.yubikey.slots import Slot
from shared.errors import Conflict, Transient
from shared.messages.ids import derive_id
from shared.process.runtime import current_command
from shared.store.event_store import EventStore, Versioned

_APPEND_TIMEOUT_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPrompt:
    """A prompt that this process waits for. *key*: the key that the PIN is sealed to; None for a touch."""

    prompt_id: str
    serial: int
    deadline: datetime
    key: X25519PrivateKey | None


class Prompts:
    """The `Prompter` that appends prompts to the log, for the commands in flight.

    *timeout_s*: the time that people have. *retry_interval_s*: pause between two attempts of the operation; the device
    itself gives up on a touch after 15 s, and rejects at once what it cannot do.
    """

    def __init__(self, store: EventStore[Prompt, PromptEvent], timeout_s: float, retry_interval_s: float = 1.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._timeout_s = timeout_s
        self._retry_interval_s = retry_interval_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends every wait: the commands are redelivered, to another process or to the successor of this one."""
        self._stopping.set()

    def with_touch(self, serial: int, slot: Slot | None, operation: Callable[[], T]) -> T:
        problem = f"YubiKey {serial} was not touched: touch it when it blinks"
        if slot is None:
            problem += "; or the management key is wrong: the device returns the same status for both"
        with self._prompt(serial, slot, PromptKind.TOUCH) as prompt:
            while True:
                try:
                    return operation()
                except ApduError as error:
                    if error.sw != SW.SECURITY_CONDITION_NOT_SATISFIED:
                        raise
                self._wait(prompt, problem)

    def with_pin(self, serial: int, slot: Slot | None, operation: Callable[[str], T]) -> T:
        with self._prompt(serial, slot, PromptKind.PIN) as prompt:
            while (state := self._on_the_loop(self._load(prompt.prompt_id)).state).phase is not Phase.ANSWERED:
                self._wait(prompt, f"the PIN of YubiKey {serial} was not given: answer the prompt {prompt.prompt_id}")
            return operation(_unseal_pin(prompt, bytes.fromhex(state.sealed_pin)))

    def _wait(self, prompt: _OpenPrompt, problem: str) -> None:
        """Pauses until the next attempt. Raises if the prompt is cancelled or expired, or this process stops."""
        if self._on_the_loop(self._load(prompt.prompt_id)).state.phase is Phase.SETTLED:
            raise DeviceError(RejectionCode.NOT_ALLOWED, f"{problem}; the prompt was cancelled")
        if datetime.now(UTC) >= prompt.deadline:
            self._settle(prompt, PromptOutcome.EXPIRED)
            raise DeviceError(RejectionCode.UNAVAILABLE, f"{problem}; the prompt expired after {self._timeout_s:g} s")
        if self._stopping.wait(self._retry_interval_s):
            raise Transient("this process stops; the redelivered command prompts again")

    @contextmanager
    def _prompt(self, serial: int, slot: Slot | None, kind: PromptKind) -> Iterator[_OpenPrompt]:
        prompt = self._on_the_loop(self._raise_prompt(serial, slot, kind))
        try:
            yield prompt
        except Transient:
            raise  # the redelivered command waits for the same prompt
        except BaseException:
            self._settle(prompt, PromptOutcome.FAILED)
            raise
        self._settle(prompt, PromptOutcome.DONE)

    def _settle(self, prompt: _OpenPrompt, outcome: PromptOutcome) -> None:
        self._on_the_loop(self._append_outcome(prompt.prompt_id, outcome))

    async def _raise_prompt(self, serial: int, slot: Slot | None, kind: PromptKind) -> _OpenPrompt:
        """Raises a prompt for the current command, or returns its open one.

        A touch prompt of a crashed process is reused. Its PIN prompt cannot be: the key died with the process.
        """
        command = current_command.get()
        key = X25519PrivateKey.generate() if kind is PromptKind.PIN else None
        for number in count():
            prompt_id = str(derive_id(command.lineage.message_id, f"prompt/{kind}/{number}"))
            current = await self._load(prompt_id)
            match current.state.phase:
                case Phase.UNKNOWN:
                    break
                case Phase.OPEN if kind is PromptKind.TOUCH and current.state.deadline is not None:
                    deadline = current.state.deadline
                    return _OpenPrompt(prompt_id=prompt_id, serial=serial, deadline=deadline, key=None)
                case Phase.OPEN | Phase.ANSWERED:
                    await self._append_outcome(prompt_id, PromptOutcome.CANCELLED)
                case Phase.SETTLED:
                    pass
        deadline = datetime.now(UTC) + timedelta(seconds=self._timeout_s)
        prompt = _OpenPrompt(prompt_id=prompt_id, serial=serial, deadline=deadline, key=key)
        raised = PromptRaised(
            prompt_id=prompt_id,
            serial=str(serial),
            slot=slot,
            wanted=kind,
            command_id=str(command.lineage.message_id),
            command_type=command.command_type,
            deadline=deadline,
            recipient_public_key=key.public_key().public_bytes_raw() if key is not None else None,
        )
        await self._append(current, raised)
        return prompt

    async def _append_outcome(self, prompt_id: str, outcome: PromptOutcome) -> None:
        while (current := await self._load(prompt_id)).state.phase is not Phase.SETTLED:
            try:
                await self._append(current, PromptSettled(prompt_id=prompt_id, outcome=outcome))
            except Conflict:  # an answer or a cancellation was appended first
                continue

    async def _append(self, current: Versioned[Prompt], event: PromptRaised | PromptSettled) -> None:
        """Appends in the conversation of the command, with another cause: only its outcome has the command as cause."""
        lineage = replace(current_command.get().lineage, message_id=UUID(event.prompt_id))
        await self._store.append(current, event, lineage, "yubikey")

    async def _load(self, prompt_id: str) -> Versioned[Prompt]:
        return await self._store.refresh(prompt_id, await self._store.load(prompt_id))

    def _on_the_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_APPEND_TIMEOUT_S)


def _unseal_pin(prompt: _OpenPrompt, sealed: bytes) -> str:
    assert prompt.key is not None
    try:
        return SUITE.decrypt(sealed, prompt.key, pin_info(str(prompt.serial), prompt.prompt_id)).decode()
    except (InvalidTag, ValueError):
        problem = (
            f"the sealed PIN does not open: seal it to the public key of prompt {prompt.prompt_id}, for this device"
        )
        raise DeviceError(RejectionCode.INVALID, problem) from None
