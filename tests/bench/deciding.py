"""Cost of one decision in process: an outcome is applied to a saga, which is then encoded and sealed for sending.

The ceiling beside it: the same step of the bare coordinator, which reads and writes a little JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from services.saga import outbox, store
from services.saga.core import machine
from services.saga.core.inputs import EventReceived
from services.saga.core.state import Origin
from shared.contracts.key.events import KeyRevoked
from shared.messages.ids import derive_id, new_id
from tests.bench.idle_coordinator import idle, start

STEPS, AT = 4, 1


@dataclass(frozen=True)
class Deciding:
    """Microseconds, of the middle one of many rounds."""

    decided_us: float
    written_and_sealed_us: float
    raw_us: float

    def told(self) -> dict[str, object]:
        return asdict(self)


def measure(scale: float = 1.0) -> Deciding:
    definition, now = idle(STEPS), datetime.now(UTC)
    request = definition.request.model_validate_json(start(0, str(new_id()))[1])
    saga = machine.begin(definition, request, Origin(command_id=new_id(), correlation_id=new_id(), actor="bench"), now)
    for _ in range(AT):
        saga = machine.advance(definition, saga, _answer(definition, saga, now))
    answer = _answer(definition, saga, now)

    def decide() -> None:
        machine.advance(definition, saga, answer)

    after = machine.advance(definition, saga, answer)
    asked_before = {pending.command_id for pending in machine.steps_in_flight(saga)}

    def write_and_seal() -> None:
        store.encode_entry(after)
        for told in after.announcements:
            outbox.announcement_message(after, told)
        for pending, command in machine.pending_commands(definition, after, exclude=asked_before):
            outbox.command_message(after, pending, command)

    told = json.dumps({"saga": saga.saga_id, "number": AT, "revision": 12345}).encode()

    def bare() -> None:
        heard = json.loads(told)
        step = {"saga": heard["saga"], "number": heard["number"] + 1}
        json.dumps(step).encode()
        json.dumps({**step, "revision": heard["revision"]}).encode()

    return Deciding(*(round(_each_us(work, scale), 1) for work in (decide, write_and_seal, bare)))


def _answer(definition, saga, at) -> EventReceived:
    ((pending, command),) = machine.pending_commands(definition, saga)
    event = KeyRevoked(key_id=command.key_id, reason=command.reason, existed=False)
    return EventReceived(
        event_id=derive_id(pending.command_id, "revoked"), command_id=pending.command_id, event=event, at=at
    )


def _each_us(work: Callable[[], None], scale: float) -> float:
    rounds, calls = 21, max(int(500 * scale), 5)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - began) / calls * 1e6)
    return sorted(times)[rounds // 2]
