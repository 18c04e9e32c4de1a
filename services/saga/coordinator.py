"""The coordinator's edge: it hears events, moves the saga they answer, saves it, then sends what its state asks for.

Saved first, sent second, acknowledged last: what a crash cuts off is done again from the saved state, by the same ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from services.saga import engine
from services.saga.definition import AnyDefinition
from services.saga.engine import Cancelled, Due, Heard, Message
from services.saga.state import Announced, Origin, Saga
from services.saga.store import Found, SagaStore
from shared import identity
from shared.contracts.all import MESSAGES
from shared.contracts.base import Command, Event
from shared.contracts.command import RefusalCode
from shared.contracts.saga import CancelSaga, StartSaga
from shared.decider import Refused, Stands
from shared.envelope import Outgoing, Received, read_command, read_event, seal_command, seal_event
from shared.errors import Conflict, Poison
from shared.headers import Lineage, SagaContext
from shared.once import publish_once
from shared.runtime import Answers

SERVICE = "saga"
_REMEMBERED = 10_000
_EVENTS: dict[str, type[Event]] = {
    name: kind for name, kind in MESSAGES.items() if issubclass(kind, Event) and kind.aggregate_type != "saga"
}
log = logging.getLogger(__name__)


class Coordinator:
    """Any number of these may run: a saga's revision decides whose move counts, and the loser looks again."""

    def __init__(
        self, js: JetStreamContext, store: SagaStore, definitions: Mapping[type[StartSaga], AnyDefinition]
    ) -> None:
        self._js = js
        self._store = store
        self._definitions = definitions
        self._answers = Answers(js, SERVICE)
        requests: tuple[type[Command], ...] = (*definitions, CancelSaga)
        self._commands = {kind.__name__: kind for kind in requests}
        self._seen: OrderedDict[str, Found] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def on_event(self, message: Msg) -> None:
        """An event: if a saga asked for it, its saga moves."""
        headers = message.headers or {}
        if "CIM-Saga-Id" not in headers:
            return
        lineage, event = read_event(message, _EVENTS)
        assert lineage.saga is not None
        heard = Heard(lineage.message_id, lineage.causation_id, event, message.metadata.timestamp)
        await self._move(lineage.saga.saga_type, lineage.saga.saga_id, heard)

    async def on_timer(self, message: Msg) -> None:
        """A scheduled message fired (`keys.timers.<saga id>.due`)."""
        headers = message.headers or {}
        try:
            saga_type, saga_id, timer_id = (headers[f"CIM-{name}"] for name in ("Saga-Type", "Saga-Id", "Event-Id"))
            due = Due(UUID(timer_id), datetime.now(UTC))
        except (KeyError, ValueError) as error:
            raise Poison(f"{message.subject} is no timer of the coordinator's") from error
        await self._move(saga_type, saga_id, due)

    async def on_command(self, message: Msg) -> None:
        received = read_command(message, SERVICE, self._commands)
        again = message.metadata.num_delivered > 1
        if again and await self._answers.given(received.lineage.message_id):
            return
        match received.body:
            case Refused() as refused:
                await self._answers.give(received, refused)
            case CancelSaga() as cancel:
                await self._cancel(received, cancel)
            case StartSaga() as request:
                await self._begin(received, request)
            case other:
                raise Poison(f"{type(other).__name__} is no command of a saga")

    async def surrender_command(self, message: Msg) -> None:
        await self._answers.surrender(read_command(message, SERVICE, self._commands))

    async def surrender_event(self, message: Msg) -> None:
        """What cannot be heard is let go: the step's own deadline decides what becomes of the saga."""
        log.error("%s at %s is given up", message.subject, message.metadata.sequence.stream)

    async def sweep(self) -> None:
        """Look at every saga that is not over: act on what is due and was not woken, send what is pending."""
        async for found in self._store.all():
            saga, now = found.saga, datetime.now(UTC)
            if saga.due is None:
                continue  # it is over
            if saga.due <= now:
                due = Due(identity.derive(UUID(saga.saga_id), f"sweep/{found.revision}"), now)
                await self._move(saga.saga_type, saga.saga_id, due)
            else:
                async with self._turn(saga.saga_id):
                    if (current := await self._found(saga.saga_type, saga.saga_id)) is not None:
                        await self._send_unless_sent(current)

    async def _begin(self, received: Received[Any], request: StartSaga) -> None:
        definition = self._definitions[type(request)]
        lineage = received.lineage
        async with self._turn(request.saga_id):
            found = await self._found("*", request.saga_id)
            if found is None:
                origin = Origin(lineage.message_id, lineage.correlation_id, lineage.actor, lineage.trace)
                saga = engine.begin(definition, request, origin, received.at)
                await self._save_and_send(Found(definition, saga, 0), saga)
            elif found.saga.origin.command_id == lineage.message_id:
                await self._send_unless_sent(found)
            elif found.saga.request == request:
                await self._answers.give(received, Stands(_where(found.saga)))
            else:
                problem = f"saga {request.saga_id} exists already, with another request; choose another saga_id"
                await self._answers.give(received, Refused(RefusalCode.CONFLICT, problem, _where(found.saga)))

    async def _cancel(self, received: Received[Any], cancel: CancelSaga) -> None:
        command_id = received.lineage.message_id
        cancelled = Cancelled(command_id, cancel.reason, received.at)
        found = await self._move("*", cancel.saga_id, cancelled)
        if found is None:
            problem = f"there is no saga {cancel.saga_id}"
            await self._answers.give(received, Refused(RefusalCode.NOT_FOUND, problem))
        elif found.saga.cancelled_by != command_id:
            problem = f"it is {found.saga.phase} and cannot be cancelled any more"
            await self._answers.give(received, Refused(RefusalCode.CONFLICT, problem, _where(found.saga)))

    async def _move(self, saga_type: str, saga_id: str, message: Message) -> Found | None:
        """Advance the saga by *message*, against whoever else may be doing so; None when there is no such saga."""
        async with self._turn(saga_id):
            while True:
                found = await self._found(saga_type, saga_id)
                if found is None:
                    return None
                await self._send_unless_sent(found)
                after = engine.advance(found.definition, found.saga, message)
                if after is found.saga:
                    if await self._is_current(found):
                        return found
                    continue
                try:
                    return await self._save_and_send(found, after)
                except Conflict:
                    continue

    async def _found(self, saga_type: str, saga_id: str) -> Found | None:
        seen = self._seen.get(saga_id)
        return seen if seen is not None else await self._store.find(saga_type, saga_id)

    async def _is_current(self, found: Found) -> bool:
        """Whether *found* stands: what is remembered may be behind what another coordinator has saved since."""
        if self._seen.get(found.saga.saga_id) is not found:
            return True  # it was read just now
        stored = await self._store.find(found.saga.saga_type, found.saga.saga_id)
        if stored is not None and stored.revision == found.revision:
            return True
        del self._seen[found.saga.saga_id]
        return False

    async def _save_and_send(self, found: Found, after: Saga[Any]) -> Found:
        armed_before = found.saga.armed if found.revision else None
        self._seen.pop(found.saga.saga_id, None)  # if saving fails, its outcome is unknown: look again
        saved = await self._store.save(found, after)
        if not after.over:
            self._seen[after.saga_id] = saved
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        await self._send(saved, timer=after.armed != armed_before)
        return saved

    async def _send_unless_sent(self, found: Found) -> None:
        if not found.sent:
            await self._send(found, timer=True, perhaps_again=True)

    async def _send(self, found: Found, *, timer: bool, perhaps_again: bool = False) -> None:
        saga = found.saga
        sending = [
            publish_once(self._js, _announcement(saga, told), perhaps_again=perhaps_again)
            for told in saga.announcements
        ]
        if (command := engine.question(found.definition, saga)) is not None:
            asked = seal_command(command, _lineage_of_question(saga), SERVICE)
            sending.append(self._publish(asked))
        if timer and saga.armed is not None:
            sending.append(self._publish(_timer(saga, saga.armed)))
        await asyncio.gather(*sending)
        found.sent = True

    async def _publish(self, outgoing: Outgoing) -> bool:
        await self._js.publish(outgoing.subject, outgoing.payload, headers=outgoing.headers)
        return True

    def _turn(self, saga_id: str) -> asyncio.Lock:
        return self._turns.setdefault(saga_id, asyncio.Lock())


def _lineage_of_question(saga: Saga[Any]) -> Lineage:
    asked, origin = saga.question, saga.origin
    assert asked is not None
    context = SagaContext(saga.saga_type, saga.saga_id, asked.label)
    return Lineage(asked.command_id, origin.correlation_id, asked.cause, origin.actor, context, origin.trace)


def _announcement(saga: Saga[Any], told: Announced) -> Outgoing:
    origin, name = saga.origin, f"{type(told.event).__name__}/{saga.saga_id}/{getattr(told.event, 'sequence', 0)}"
    event_id = identity.derive(told.cause, name)
    context = SagaContext(saga.saga_type, saga.saga_id, getattr(told.event, "step", None) or "")
    lineage = Lineage(event_id, origin.correlation_id, told.cause, origin.actor, context, origin.trace)
    return seal_event(told.event, lineage, SERVICE)


def _timer(saga: Saga[Any], at: datetime) -> Outgoing:
    """A message that JetStream delivers at *at*; the next one on the same subject replaces it (ADR-51 of NATS)."""
    timer_id = str(identity.derive(UUID(saga.saga_id), f"timer/{at.isoformat()}"))
    headers = {
        "Nats-Schedule": f"@at {at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": f"keys.timers.{saga.saga_id}.due",
        "CIM-Event-Id": timer_id,  # a scheduled message loses its Nats-Msg-Id when it fires
        "CIM-Saga-Id": saga.saga_id,
        "CIM-Saga-Type": saga.saga_type,
        "CIM-Source": SERVICE,
    }
    return Outgoing(f"keys.timers.{saga.saga_id}.wake", b"", headers)


def _where(saga: Saga[Any]) -> dict[str, Any]:
    waiting = saga.question.label if saga.question else None
    return {"saga_type": saga.saga_type, "phase": str(saga.phase), "waits_for": waiting, "sequence": saga.sequence}
