"""Reads the events of some kinds out of the log: each once, in order, as far as the log goes whenever that is asked.

No subscription stays open: one that a restart of the server has broken is as silent as one that has nothing to say
(facts.md). So the end of the log is looked up each time, and only what was appended since is read.
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

_SILENCE = 10.0
_Mark = tuple[str, str]
log = logging.getLogger(__name__)


class LogReader:
    """*hear* is told of each event of the suite under *patterns*; *forget*: that the log is another one than before.

    What is under these subjects and none of the suite's is passed over. What *hear* raises is raised to who asked.
    """

    def __init__(
        self,
        js: JetStreamContext,
        patterns: Iterable[str],
        hear: Callable[[Msg], None],
        forget: Callable[[], None],
    ) -> None:
        self._js = js
        self._patterns = [*patterns]
        self._hear = hear
        self._forget = forget
        self._turn = asyncio.Lock()
        self._mark: _Mark | None = None
        self._heard = 0

    async def catch_up(self) -> int:
        """Hear all that stood in the log when this was asked; returns the sequence of the last event of these kinds.

        Raises Transient when it was not all delivered; what was heard by then is heard.
        """
        async with self._turn:
            last = await self._last()
            if last is None:
                self._begin_anew()
            elif last.seq != self._heard or _mark_of(last) != self._mark:
                if not await self._hear_the_rest():
                    log.error("the log is not the one that was read before; it is read from its beginning")
                    self._begin_anew()
                    await self._hear_the_rest()
                if self._heard < (last.seq or 0):
                    raise Transient(f"event {last.seq} of the log was not delivered")
            return self._heard

    def _begin_anew(self) -> None:
        if self._heard:
            self._forget()
        self._heard, self._mark = 0, None

    async def _last(self) -> RawStreamMsg | None:
        """The last event of these kinds, from the leader, found by the subjects' index."""
        found = [each for each in await asyncio.gather(*map(self._last_of, self._patterns)) if each is not None]
        return max(found, key=lambda each: each.seq or 0, default=None)

    async def _last_of(self, pattern: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(LOG, subject=pattern)
        except NotFoundError:
            return None

    async def _hear_the_rest(self) -> bool:
        """False: what was heard last does not stand there any longer (a backup was restored, power was cut)."""
        reading = _Reading(self._heard, self._mark, self._take)
        subscription = await ordered_subscribe(
            self._js,
            LOG,
            self._patterns[0],
            cb=reading.receive,  # next_msg makes a task of each message, and nearly twice the work
            config=ConsumerConfig(
                filter_subjects=self._patterns,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(self._heard, 1),
            ),
        )
        try:
            info = await subscription.consumer_info()
            delivered = info.delivered.consumer_seq if info.delivered else 0
            if not (info.num_pending or 0) + delivered:
                return self._mark is None
            return await reading.until_the_end()
        finally:
            await subscription.unsubscribe()

    def _take(self, message: Msg) -> None:
        try:
            event_lineage(message.headers or {})
        except Poison:
            where = f"{message.metadata.sequence.stream} ({message.subject})"
            log.warning("event %s is none of the suite's and is passed over", where)
        else:
            self._hear(message)
        self._heard, self._mark = message.metadata.sequence.stream, _mark_of(message)


class _Reading:
    """One pass over what is new; it begins with what was heard last, to see that it still stands there."""

    def __init__(self, heard: int, mark: _Mark | None, take: Callable[[Msg], None]) -> None:
        self._heard = heard
        self._mark = mark
        self._take = take
        self._delivered = 0
        self._ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def receive(self, message: Msg) -> None:
        if self._ended.done():
            return
        try:
            self._receive(message)
        except Exception as problem:  # noqa: BLE001 - whatever it is, whoever asked must hear of it
            self._ended.set_exception(problem)

    def _receive(self, message: Msg) -> None:
        self._delivered += 1
        if message.metadata.sequence.consumer != self._delivered:
            raise Transient("events were lost on the way from the log; they are asked for again")
        if self._delivered == 1 and self._mark is not None:
            if message.metadata.sequence.stream != self._heard or _mark_of(message) != self._mark:
                self._ended.set_result(False)
                return
        else:
            self._take(message)
        if message.metadata.num_pending == 0:
            self._ended.set_result(True)

    async def until_the_end(self) -> bool:
        """Wait for the end of the log as long as something of it is heard."""
        while not self._ended.done():
            before = self._delivered
            await asyncio.wait([self._ended], timeout=_SILENCE)
            if not self._ended.done() and self._delivered == before:
                raise Transient("the log is silent before its end; it is asked again")
        return self._ended.result()


def _mark_of(message: Msg | RawStreamMsg) -> _Mark:
    """What tells an event from any other that may come to stand in its place."""
    return message.subject or "", (message.headers or {}).get(NatsHeader.MSG_ID, "")
