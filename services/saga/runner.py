"""Saga runner: begins and advances sagas, saves each new state, then sends the messages it requires.

State first: a crash between saving and sending costs nothing, since the saved state leads to the same messages under
the same ids.
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
from services.saga.core.inputs import Input, TimerFired
from services.saga.core.state import Origin, Saga
from services.saga.store import SagaStore, StartForbidden, StoredSaga
from shared.contracts.saga.protocol import StartSaga
from shared.errors import Conflict, Poison
from shared.messages.envelope import OutgoingMessage
from shared.messages.ids import derive_id
from shared.store.idempotent_publish import publish_once

_MAX_CACHED_SAGAS = 10_000
_RESEND_AFTER = timedelta(minutes=1)


class SagaRunner:
    """Runs sagas beside any number of other processes: the revision of an entry decides which transition counts."""

    def __init__(
        self, js: JetStreamContext, store: SagaStore, definitions: Mapping[type[StartSaga], AnyDefinition]
    ) -> None:
        self._js = js
        self._store = store
        self._definitions = definitions
        self._cache: OrderedDict[str, StoredSaga] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._resent: dict[str, int] = {}
        self._census = metrics.Census({each.saga_type for each in definitions.values()})

    # -- begin and advance -------------------------------------------------------------------------------------------

    async def begin(self, request: StartSaga, origin: Origin, at: datetime) -> StoredSaga:
        """Begins the saga of *request*; returns the stored one if it has begun before."""
        definition = self._definitions[type(request)]
        async with self._lock(request.saga_id):
            stored = await self._load("*", request.saga_id)
            if stored is None:
                saga = machine.begin(definition, request, origin, at)
                return await self._save_and_send(StoredSaga(definition, saga, 0), saga)
            if stored.saga.origin.command_id == origin.command_id:
                await self._send_unless_sent(stored)
            return stored

    async def advance(self, saga_type: str, saga_id: str, received: Input) -> StoredSaga | None:
        """Advances the saga by one input with optimistic concurrency; returns None if there is no such saga."""
        async with self._lock(saga_id):
            while True:
                stored = await self._load(saga_type, saga_id)
                if stored is None:
                    return None
                after = machine.advance(stored.definition, stored.saga, received)
                if after is stored.saga:
                    if await self._is_current(stored):
                        await self._send_unless_sent(stored)
                        return stored
                    continue
                if not stored.sent:  # the new state replaces these announcements: publish them first
                    await self._announce(stored, maybe_published=True)
                try:
                    return await self._save_and_send(stored, after)
                except Conflict:
                    continue

    async def _load(self, saga_type: str, saga_id: str) -> StoredSaga | None:
        cached = self._cache.get(saga_id)
        return cached if cached is not None else await self._store.find(saga_type, saga_id)

    async def _is_current(self, stored: StoredSaga) -> bool:
        """Checks a cached saga against the store, since another coordinator may have advanced it."""
        if self._cache.get(stored.saga.saga_id) is not stored:
            return True  # it was read just now
        newest = await self._store.find(stored.saga.saga_type, stored.saga.saga_id)
        if newest is not None and newest.revision == stored.revision:
            return True
        del self._cache[stored.saga.saga_id]
        return False

    async def _save_and_send(self, stored: StoredSaga, after: Saga[Any]) -> StoredSaga:
        self._cache.pop(stored.saga.saga_id, None)  # if saving fails, its outcome is unknown: read it again
        saved = await self._store.save(stored, after)
        if not after.is_finished:
            self._cache[after.saga_id] = saved
            if len(self._cache) > _MAX_CACHED_SAGAS:
                self._cache.popitem(last=False)
        await self._send(saved, before=stored)
        return saved

    # -- send --------------------------------------------------------------------------------------------------------

    async def _send_unless_sent(self, stored: StoredSaga) -> None:
        if not stored.sent:
            await self._send(stored)

    async def _send(self, stored: StoredSaga, *, before: StoredSaga | None = None) -> None:
        """Sends the messages of the state, except commands and a timer that were sent for the state *before* it."""
        saga, sent = stored.saga, before.saga if before is not None and before.sent else None
        sent_ids = {pending.command_id for pending in machine.steps_in_flight(sent)} if sent is not None else ()
        sending: list[Coroutine[Any, Any, Any]] = [self._announce(stored, maybe_published=before is None)]
        for pending, command in machine.pending_commands(stored.definition, saga, exclude=sent_ids):
            sending.append(self.publish(outbox.command_message(saga, pending, command)))
        if saga.timer_at is not None and (sent is None or saga.timer_at != sent.timer_at):
            sending.append(self.publish(outbox.timer_message(saga, saga.timer_at)))
        await asyncio.gather(*sending)
        stored.sent = True

    async def _announce(self, stored: StoredSaga, *, maybe_published: bool) -> None:
        """Publishes the announcements one after another, so that the log has them in order even if one is lost."""
        saga = stored.saga
        for announcement in saga.announcements:
            message = outbox.announcement_message(saga, announcement)
            new = await publish_once(self._js, message, check_first=maybe_published)
            if new and isinstance(announcement.event, outbox.FINAL_EVENTS):
                metrics.record_end(saga, datetime.now(UTC))
            await asyncio.gather(*(self.publish(each) for each in outbox.messages_to_parent(saga, announcement)))

    async def publish(self, message: OutgoingMessage) -> None:
        await self._js.publish(message.subject, message.payload, headers=message.headers)

    # -- all sagas -----------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Advances every saga whose timer did not fire; sends the messages of an idle saga once more.

        A saga that has just changed is left to the coordinator that changed it, or to the redelivery of its input.
        """
        resent: dict[str, int] = {}
        self._census.begin()
        async for stored in self._store.unfinished():
            saga, now = stored.saga, datetime.now(UTC)
            self._census.count(saga, now)
            if saga.due_at is not None and saga.due_at <= now:
                timer_id = derive_id(UUID(saga.saga_id), f"sweep/{stored.revision}")
                await self.advance(saga.saga_type, saga.saga_id, TimerFired(timer_id, now))
            elif saga.changed_at is None or now - saga.changed_at > _RESEND_AFTER:
                resent[saga.saga_id] = stored.revision
                if self._resent.get(saga.saga_id) != stored.revision:
                    async with self._lock(saga.saga_id):
                        if (current := await self._load(saga.saga_type, saga.saga_id)) is not None:
                            await self._send_unless_sent(current)
        self._resent = resent
        self._census.report()

    async def forbid(self, saga_id: str) -> None:
        """Keeps a saga that has not begun from beginning. Raises Conflict if it has begun."""
        await self._store.forbid(saga_id)

    async def require_definition(self, saga_type: str, saga_id: str) -> None:
        """Raises UnknownVersion if the saga runs on a definition that this coordinator does not have."""
        with contextlib.suppress(StartForbidden, Poison, ValueError, LookupError):  # no coordinator can advance these
            await self._store.find(saga_type, saga_id)

    def _lock(self, saga_id: str) -> asyncio.Lock:
        return self._locks.setdefault(saga_id, asyncio.Lock())
