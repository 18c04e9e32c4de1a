"""Incremental reader of the log: each event of some subjects once, in order, up to the current end.

No subscription stays open, because one that a server restart has broken looks like one without messages. Each call
looks up the end of the log and reads only the events after the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, RawStreamMsg
from nats.js.errors import NotFoundError

from shared.errors import Poison, Transient
from shared.messages.catalog import LOG
from shared.messages.headers import NatsHeader, event_lineage
from shared.nats.ordered_consumer import ordered_subscribe

_TIMEOUT_S = 10.0
_Mark = tuple[str, str]
log = logging.getLogger(__name__)


class LogReader:
    """Calls *on_event* with each event under *patterns*, and *on_reset* if the log was replaced (backup, power cut).

    Messages that are not events of the suite are skipped. `catch_up` raises the exceptions of *on_event*.
    """

    def __init__(
        self,
        js: JetStreamContext,
        patterns: Iterable[str],
        on_event: Callable[[Msg], None],
        on_reset: Callable[[], None],
    ) -> None:
        self._js = js
        self._patterns = [*patterns]
        self._on_event = on_event
        self._on_reset = on_reset
        self._lock = asyncio.Lock()
        self._mark: _Mark | None = None
        self._last_sequence = 0

    async def catch_up(self) -> int:
        """Reads all events that the log has now; returns the sequence of the last one under these patterns.

        Raises Transient if the server did not deliver all; the delivered ones count as read.
        """
        async with self._lock:
            last = await self._last()
            if last is None:
                self._reset()
            elif last.seq != self._last_sequence or _mark_of(last) != self._mark:
                if not await self._read_new():
                    log.error("the log was replaced: reading it from its beginning")
                    self._reset()
                    await self._read_new()
                if self._last_sequence < (last.seq or 0):
                    raise Transient(f"event {last.seq} of the log was not delivered")
            return self._last_sequence

    def _reset(self) -> None:
        if self._last_sequence:
            self._on_reset()
        self._last_sequence, self._mark = 0, None

    async def _last(self) -> RawStreamMsg | None:
        """Reads the last event under these patterns from the leader, by the index of subjects."""
        found = [each for each in await asyncio.gather(*map(self._last_of, self._patterns)) if each is not None]
        return max(found, key=lambda each: each.seq or 0, default=None)

    async def _last_of(self, pattern: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(LOG, subject=pattern)
        except NotFoundError:
            return None

    async def _read_new(self) -> bool:
        """Reads the new events. False if the last one read is no longer in the log (backup restored, power cut)."""
        reading = _Reading(self._last_sequence, self._mark, self._take)
        subscription = await ordered_subscribe(
            self._js,
            LOG,
            self._patterns[0],
            cb=reading.receive,  # next_msg creates a task per message: nearly twice the work
            config=ConsumerConfig(
                filter_subjects=self._patterns,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(self._last_sequence, 1),
            ),
        )
        try:
            info = await subscription.consumer_info()
            delivered = info.delivered.consumer_seq if info.delivered else 0
            if not (info.num_pending or 0) + delivered:
                return self._mark is None
            return await reading.wait_for_end()
        finally:
            await subscription.unsubscribe()

    def _take(self, message: Msg) -> None:
        try:
            event_lineage(message.headers or {})
        except Poison:
            sequence = message.metadata.sequence.stream
            log.warning("skipped message %d (%s): it is not an event of the suite", sequence, message.subject)
        else:
            self._on_event(message)
        self._last_sequence, self._mark = message.metadata.sequence.stream, _mark_of(message)


class _Reading:
    """One pass over the new events; it starts with the last one read, to check that it is still there."""

    def __init__(self, last_sequence: int, mark: _Mark | None, take: Callable[[Msg], None]) -> None:
        self._last_sequence = last_sequence
        self._mark = mark
        self._take = take
        self._delivered = 0
        self._ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def receive(self, message: Msg) -> None:
        if self._ended.done():
            return
        try:
            self._receive(message)
        except Exception as problem:  # noqa: BLE001 - `wait_for_end` raises it to the caller
            self._ended.set_exception(problem)

    def _receive(self, message: Msg) -> None:
        self._delivered += 1
        if message.metadata.sequence.consumer != self._delivered:
            raise Transient("the consumer skipped events of the log: read them again")
        if self._delivered == 1 and self._mark is not None:
            if message.metadata.sequence.stream != self._last_sequence or _mark_of(message) != self._mark:
                self._ended.set_result(False)
                return
        else:
            self._take(message)
        if message.metadata.num_pending == 0:
            self._ended.set_result(True)

    async def wait_for_end(self) -> bool:
        """Waits for the end of the log as long as messages arrive."""
        while not self._ended.done():
            before = self._delivered
            await asyncio.wait([self._ended], timeout=_TIMEOUT_S)
            if not self._ended.done() and self._delivered == before:
                raise Transient(f"the log delivered nothing for {_TIMEOUT_S:g} s before its end: read it again")
        return self._ended.result()


def _mark_of(message: Msg | RawStreamMsg) -> _Mark:
    """Identifies an event: another log may have another one at the same sequence."""
    return message.subject or "", (message.headers or {}).get(NatsHeader.MSG_ID, "")
