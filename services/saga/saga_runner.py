"""The sagas there are: each is begun, moved and saved here before what its state asks for is sent.

Saved first, sent second, acknowledged last: what a crash cuts off is done again from the saved state, by the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from nats.js import JetStreamContext

from services.saga import metrics, outbox
from services.saga.core import machine
from services.saga.core.definition import AnyDefinition
from services.saga.core.machine import Due, Message
from services.saga.core.state import Announced, Origin, Saga
from services.saga.store import Forbidden, Found, SagaStore
from shared.contracts.saga.protocol import StartSaga
from shared.errors import Conflict, Poison
from shared.messages.envelope import OutgoingMessage
from shared.messages.ids import derive_id
from shared.store.idempotent_publish import publish_once

_REMEMBERED = 10_000
_SETTLED = timedelta(minutes=1)


class Sagas:
    """Any number of processes may move them: a saga's revision decides whose move counts, and the loser looks again."""

    def __init__(
        self, js: JetStreamContext, store: SagaStore, definitions: Mapping[type[StartSaga], AnyDefinition]
    ) -> None:
        self._js = js
        self._store = store
        self._definitions = definitions
        self._seen: OrderedDict[str, Found] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._swept: dict[str, int] = {}
        self._census = metrics.Census({each.saga_type for each in definitions.values()})

    async def begin(self, request: StartSaga, origin: Origin, at: datetime) -> Found:
        """The saga that *request* asks for: begun now, or as it stands if it began before."""
        definition = self._definitions[type(request)]
        async with self._turn(request.saga_id):
            found = await self._found("*", request.saga_id)
            if found is None:
                saga = machine.begin(definition, request, origin, at)
                return await self._save_and_send(Found(definition, saga, 0), saga)
            if found.saga.origin.command_id == origin.command_id:
                await self._send_unless_sent(found)
            return found

    async def forbid(self, saga_id: str) -> None:
        """See to it that a saga which has not begun does not begin. Raises Conflict if it has."""
        await self._store.forbid(saga_id)

    async def require_definition(self, saga_type: str, saga_id: str) -> None:
        """Raises UnknownVersion for a saga that runs on a definition which is not here."""
        with contextlib.suppress(Forbidden, Poison, ValueError, LookupError):  # nobody can move such an entry
            await self._store.find(saga_type, saga_id)

    async def move(self, saga_type: str, saga_id: str, message: Message) -> Found | None:
        """Advance the saga by *message*, against whoever else may be doing so; None when there is no such saga."""
        async with self._turn(saga_id):
            while True:
                found = await self._found(saga_type, saga_id)
                if found is None:
                    return None
                after = machine.advance(found.definition, found.saga, message)
                if after is found.saga:
                    if await self._is_current(found):
                        await self._send_unless_sent(found)
                        return found
                    continue
                if not found.sent:  # its questions are answered, or pending still; what it told, nobody tells later
                    await self._tell(found, check_first=True)
                try:
                    return await self._save_and_send(found, after)
                except Conflict:
                    continue

    async def sweep(self) -> None:
        """Look at every saga that is not over: act on what is due and was not woken; send what is pending, once.

        One that has just changed is left to whoever changed it, or to the redelivery of what made it change.
        """
        swept: dict[str, int] = {}
        self._census.begin()
        async for found in self._store.unfinished():
            saga, now = found.saga, datetime.now(UTC)
            self._census.count(saga, now)
            if saga.due is not None and saga.due <= now:
                due = Due(derive_id(UUID(saga.saga_id), f"sweep/{found.revision}"), now)
                await self.move(saga.saga_type, saga.saga_id, due)
            elif saga.changed_at is None or now - saga.changed_at > _SETTLED:
                swept[saga.saga_id] = found.revision
                if self._swept.get(saga.saga_id) != found.revision:
                    async with self._turn(saga.saga_id):
                        if (current := await self._found(saga.saga_type, saga.saga_id)) is not None:
                            await self._send_unless_sent(current)
        self._swept = swept
        self._census.report()

    async def publish(self, message: OutgoingMessage) -> bool:
        await self._js.publish(message.subject, message.payload, headers=message.headers)
        return True

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
        self._seen.pop(found.saga.saga_id, None)  # if saving fails, its outcome is unknown: look again
        saved = await self._store.save(found, after)
        if not after.over:
            self._seen[after.saga_id] = saved
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        await self._send(saved, since=found)
        return saved

    async def _send_unless_sent(self, found: Found) -> None:
        if not found.sent:
            await self._send(found)

    async def _send(self, found: Found, *, since: Found | None = None) -> None:
        """Send what *found* asks to be sent; *since*: what it was made of, whose questions and timer stand if sent."""
        saga, before = found.saga, since.saga if since is not None and since.sent else None
        asked_before = {pending.command_id for pending in machine.asked(before)} if before is not None else ()
        sending: list[Coroutine[Any, Any, Any]] = [self._tell(found, check_first=since is None)]
        for pending, command in machine.questions(found.definition, saga, but=asked_before):
            sending.append(self.publish(outbox.asked(saga, pending, command)))
        if saga.armed is not None and (before is None or saga.armed != before.armed):
            sending.append(self.publish(outbox.timer(saga, saga.armed)))
        await asyncio.gather(*sending)
        found.sent = True

    async def _tell(self, found: Found, *, check_first: bool) -> None:
        """Announce one after the other, so that they stand in the log as they came about, whatever is lost between."""
        for told in found.saga.announcements:
            await self._announce(found.saga, told, check_first=check_first)
            await asyncio.gather(*(self.publish(end) for end in outbox.told_to_parent(found.saga, told)))

    async def _announce(self, saga: Saga[Any], told: Announced, *, check_first: bool) -> None:
        new = await publish_once(self._js, outbox.announcement(saga, told), check_first=check_first)
        if new and isinstance(told.event, outbox.ENDINGS):
            metrics.ended(saga, datetime.now(UTC))

    def _turn(self, saga_id: str) -> asyncio.Lock:
        return self._turns.setdefault(saga_id, asyncio.Lock())
