"""Asks people for what only they can do at a device, and waits for it.

Called on the threads that talk to devices, which may wait as long as people take; the log is written on the loop.
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

_ON_THE_LOOP = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt that is open: for a PIN, with the key of its own to which that is to be sealed."""

    prompt_id: str
    serial: int
    deadline: datetime
    key: X25519PrivateKey | None


class Prompts:
    """Prompts for the commands under way. *patience*: how long people have, in seconds; *again*: how long is waited
    between two tries (a device gives up after 15 s by itself, and answers at once to one that it will not do).
    """

    def __init__(self, store: EventStore[Prompt, PromptEvent], patience: float, again: float = 1.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._patience = patience
        self._again = again
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have every thread that waits give its command back: it is delivered again, and waits elsewhere."""
        self._stopping.set()

    def with_touch(self, serial: int, slot: Slot | None, operation: Callable[[], T]) -> T:
        in_vain = f"YubiKey {serial} was not touched: touch it when it blinks"
        if slot is None:
            in_vain += (
                ", if its management key is the one that this service was given: the device says the same of both"
            )
        with self._asking(serial, slot, PromptKind.TOUCH) as asked:
            while True:
                try:
                    return operation()
                except ApduError as error:
                    if error.sw != SW.SECURITY_CONDITION_NOT_SATISFIED:
                        raise
                self._wait(asked, in_vain)

    def with_pin(self, serial: int, slot: Slot | None, operation: Callable[[str], T]) -> T:
        with self._asking(serial, slot, PromptKind.PIN) as asked:
            while (prompt := self._on_the_loop(self._prompt(asked.prompt_id)).state).phase is not Phase.ANSWERED:
                self._wait(asked, f"the PIN of YubiKey {serial} was not given: answer the prompt {asked.prompt_id}")
            return operation(_opened(asked, bytes.fromhex(prompt.sealed_pin)))

    def _wait(self, asked: _Asked, in_vain: str) -> None:
        """Raises once waiting is over, whatever is waited for."""
        if self._on_the_loop(self._prompt(asked.prompt_id)).state.phase is Phase.SETTLED:
            raise DeviceError(RejectionCode.NOT_ALLOWED, f"{in_vain}; the prompt was cancelled")
        if datetime.now(UTC) >= asked.deadline:
            self._settle(asked, PromptOutcome.EXPIRED)
            raise DeviceError(RejectionCode.UNAVAILABLE, f"{in_vain}; nobody did within {self._patience:g} s")
        if self._stopping.wait(self._again):
            raise Transient("this process stops; the person is waited for again, by another or by its successor")

    @contextmanager
    def _asking(self, serial: int, slot: Slot | None, wanted: PromptKind) -> Iterator[_Asked]:
        asked = self._on_the_loop(self._ask(serial, slot, wanted))
        try:
            yield asked
        except Transient:
            raise  # the command comes again, and so does whoever waits for the same touch
        except BaseException:
            self._settle(asked, PromptOutcome.FAILED)
            raise
        self._settle(asked, PromptOutcome.DONE)

    def _settle(self, asked: _Asked, outcome: PromptOutcome) -> None:
        self._on_the_loop(self._say_outcome(asked.prompt_id, outcome))

    async def _ask(self, serial: int, slot: Slot | None, wanted: PromptKind) -> _Asked:
        """The prompt of the command under way. A touch that a dead process asked for is asked for no second time; its
        prompt for a PIN died with the key.
        """
        command = current_command.get()
        key = X25519PrivateKey.generate() if wanted is PromptKind.PIN else None
        for number in count():
            prompt_id = str(derive_id(command.lineage.message_id, f"prompt/{wanted}/{number}"))
            standing = await self._prompt(prompt_id)
            match standing.state.phase:
                case Phase.UNKNOWN:
                    break
                case Phase.OPEN if wanted is PromptKind.TOUCH and standing.state.deadline is not None:
                    return _Asked(prompt_id, serial, standing.state.deadline, None)
                case Phase.OPEN | Phase.ANSWERED:
                    await self._say_outcome(prompt_id, PromptOutcome.CANCELLED)
                case Phase.SETTLED:
                    pass
        asked = _Asked(prompt_id, serial, datetime.now(UTC) + timedelta(seconds=self._patience), key)
        raised = PromptRaised(
            prompt_id=prompt_id,
            serial=str(serial),
            slot=slot,
            wanted=wanted,
            command_id=str(command.lineage.message_id),
            command_type=command.command_type,
            deadline=asked.deadline,
            recipient_public_key=key.public_key().public_bytes_raw() if key is not None else None,
        )
        await self._append(standing, raised)
        return asked

    async def _say_outcome(self, prompt_id: str, outcome: PromptOutcome) -> None:
        while (standing := await self._prompt(prompt_id)).state.phase is not Phase.SETTLED:
            try:
                await self._append(standing, PromptSettled(prompt_id=prompt_id, outcome=outcome))
            except Conflict:  # somebody answered or cancelled it in this moment
                continue

    async def _append(self, standing: Versioned[Prompt], event: PromptRaised | PromptSettled) -> None:
        """In the conversation of the command under way, but not as caused by it: that would be its answer."""
        lineage = replace(current_command.get().lineage, message_id=UUID(event.prompt_id))
        await self._store.append(standing, event, lineage, "yubikey")

    async def _prompt(self, prompt_id: str) -> Versioned[Prompt]:
        return await self._store.refresh(prompt_id, await self._store.load(prompt_id))

    def _on_the_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ON_THE_LOOP)


def _opened(asked: _Asked, sealed: bytes) -> str:
    assert asked.key is not None
    try:
        return SUITE.decrypt(sealed, asked.key, pin_info(str(asked.serial), asked.prompt_id)).decode()
    except (InvalidTag, ValueError):
        problem = f"the PIN does not open: seal it to the key of the prompt {asked.prompt_id}, and for this device"
        raise DeviceError(RejectionCode.INVALID, problem) from None
