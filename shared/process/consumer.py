"""A durable pull consumer that always has as much in hand as it works on, and acknowledges when the work is durable.

Why not FastStream's own subscriber on this path, with figures: docs/adr/0005-command-consumers.md
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.errors import Conflict, Poison, Transient
from shared.messages.headers import NatsHeader
from shared.nats.client import Client
from shared.telemetry.instruments import observe

Handler = Callable[[Msg], Awaitable[None]]
GiveUp = Callable[[Msg], Awaitable[bool | None]]
"""True: the message was carried out after all, and there is nothing to be kept of it."""
IsRelevant = Callable[[Msg], bool]
Bury = Callable[[Msg, str], Awaitable[None]]

MOST_DELIVERIES = 12
"""How often a message is tried before its handler is asked to answer it as undeliverable."""
_PULL_EXPIRES = 30.0
_HEARTBEAT, _SILENCE, _LEFT = 1.0, 3.5, 7.0
"""Seconds: how often the server says that it lives; after how long it is asked anew, and after how long it is left."""
_LONGEST_DELAY, _LONGEST_WITHOUT_SERVER = 15.0, 2.0
"""Seconds. A cluster has chosen another leader within seconds, and what waits then is not to wait as long again."""
_ASKING, _MOST_REMEMBERED = 2.0, 1000
_SERVER_ERRORS = (nats.errors.Error, ConnectionError, TimeoutError)
_WORLD_ERRORS = (Conflict, Transient, *_SERVER_ERRORS)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerProgress:
    """What a durable consumer, over all who read it, is yet to hear, has in hand, and has in hand once more."""

    pending: int
    ack_pending: int
    redelivered: int


class PullConsumer:
    """Reads a durable consumer and handles each message in a task of its own, at most *limit* at a time.

    How *handle* ends decides: it returns: acknowledged; it raises because the world is not ready, or because of a bug:
    delivered again after a growing delay; it raises Poison, or was tried MOST_DELIVERIES times: *give_up* answers in
    its stead. What does not *concerns* it is acknowledged as it is read, and costs no task: most of a log is not a
    given reader's.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        handle: Handler,
        give_up: GiveUp,
        *,
        ack_wait: float,
        limit: int = 256,
        is_relevant: IsRelevant | None = None,
        bury: Bury | None = None,
    ) -> None:
        self._client = client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._stream = stream
        self.durable = durable
        self._handle = handle
        self._answer_instead = give_up
        self._ack_wait = ack_wait
        self._limit = limit
        self._concerns = is_relevant
        self._bury = bury
        self._last_errors: dict[int, str] = {}
        self._worth_asking = max(limit // 2, 1)
        self._stopping = False
        self._requested = 0
        self._working: dict[asyncio.Task[None], Msg] = {}
        self._subscription: Subscription | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._inbox = ""
        self._heard = 0.0
        self._asked_anew = False

    async def start(self) -> None:
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe_inline(self._inbox, self._received)
        self._upkeep = asyncio.create_task(self._keep_up(), name=f"{self.durable}-upkeep")
        await self._pull()

    async def stop(self, within: float = 10.0) -> None:
        """Take no more, finish what is in hand, hand back what is not finished *within* seconds."""
        self._stopping = True
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
        if self._working:
            _, unfinished = await asyncio.wait(self._working, timeout=within)
            for task, message in [(task, self._working[task]) for task in unfinished]:
                task.cancel()
                with contextlib.suppress(nats.errors.Error):
                    await message.nak()
        if self._upkeep is not None:
            self._upkeep.cancel()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._client.flush(timeout=2)

    async def standing(self) -> ConsumerProgress:
        """Where it stands. Raises Transient when the server does not say it, or has no such consumer."""
        subject = f"$JS.API.CONSUMER.INFO.{self._stream}.{self.durable}"
        try:
            answer = json.loads((await self._client.request(subject, b"", timeout=_ASKING)).data)
        except (nats.errors.Error, TimeoutError) as error:
            raise Transient(f"{self.durable}: no word of where it stands ({type(error).__name__})") from error
        if "error" in answer:
            raise Transient(f"{self.durable}: {answer['error'].get('description')}")
        return ConsumerProgress(answer["num_pending"], answer["num_ack_pending"], answer["num_redelivered"])

    def _received(self, message: Msg) -> None:
        self._heard, self._asked_anew = asyncio.get_running_loop().time(), False
        if message.headers and "Status" in message.headers and not message.reply:
            self._told(message.headers)
            return
        self._requested -= 1
        if self._concerns is not None and not self._concerns(message):
            self._client.ack_nowait(message)
            self._pull_if_worth_it()
            return
        task = asyncio.create_task(self._work(message))
        self._working[task] = message
        task.add_done_callback(self._finished)

    def _told(self, status: dict[str, str]) -> None:
        """The server lives (100), or ends a request: it expired (408), or cannot be served now: upkeep asks again."""
        if status["Status"].startswith("100"):
            return
        self._requested -= int(status.get(NatsHeader.PENDING_MESSAGES, self._requested))
        if status["Status"].startswith("408"):
            asyncio.ensure_future(self._pull())  # noqa: RUF006 - it awaits one write to a buffer and cannot fail

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._working[task]
        self._pull_if_worth_it()

    def _pull_if_worth_it(self) -> None:
        if not self._stopping and self._wanted() >= self._worth_asking:
            asyncio.ensure_future(self._pull())  # noqa: RUF006 - it awaits one write to a buffer and cannot fail

    def _wanted(self) -> int:
        return self._limit - len(self._working) - max(self._requested, 0)

    async def _pull(self) -> None:
        """Ask for as many as can be worked on; less than half the limit is not worth a request."""
        wanted = self._wanted()
        if wanted < self._worth_asking or self._stopping or self._client.is_closed:
            return
        self._requested = max(self._requested, 0) + wanted
        request = {"batch": wanted, "expires": int(_PULL_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(self._next, json.dumps(request).encode(), reply=self._inbox)

    async def _work(self, message: Msg) -> None:
        deliveries = message.metadata.num_delivered
        try:
            with observe(message, self.durable):
                await self._deliver(message, deliveries)
            await message.ack()
            self._last_errors.pop(message.metadata.sequence.stream, None)
        except _WORLD_ERRORS as error:
            log.warning("%s: delivery %d put off: %s", message.subject, deliveries, error)
            self._remember(message, str(error) or type(error).__name__)
            longest = _LONGEST_WITHOUT_SERVER if isinstance(error, _SERVER_ERRORS) else _LONGEST_DELAY
            await self._put_off(message, deliveries, longest)
        except Exception as error:
            log.exception("%s: delivery %d failed", message.subject, deliveries)
            self._remember(message, type(error).__name__)  # not its text: nobody vouches for what a bug puts there
            await self._put_off(message, deliveries, _LONGEST_DELAY)

    async def _deliver(self, message: Msg, deliveries: int) -> None:
        if deliveries > MOST_DELIVERIES:
            last = self._last_errors.get(message.metadata.sequence.stream, "the service's log says why")
            await self._give_up(message, f"tried {MOST_DELIVERIES} times; the last time: {last}")
        else:
            await self._handle_or_settle(message)

    async def _handle_or_settle(self, message: Msg) -> None:
        try:
            await self._handle(message)
        except Poison as error:
            log.error("%s: %s", message.subject, error)  # noqa: TRY400 - what is wrong is in the message, not here
            await self._give_up(message, str(error))

    async def _give_up(self, message: Msg, reason: str) -> None:
        """Have it answered, then kept: once that is so, it is acknowledged."""
        carried_out = await self._answer_instead(message)
        if self._bury is not None and not carried_out:
            await self._bury(message, reason)

    def _remember(self, message: Msg, problem: str) -> None:
        if len(self._last_errors) >= _MOST_REMEMBERED:
            self._last_errors.clear()
        self._last_errors[message.metadata.sequence.stream] = problem[:256]

    async def _put_off(self, message: Msg, deliveries: int, longest: float) -> None:
        delay = min(0.05 * 2 ** min(deliveries, 16), longest) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        with contextlib.suppress(nats.errors.Error):
            await message.nak(delay=delay)

    async def _keep_up(self) -> None:
        """Tell the server what is still being worked on, and ask anew when a request seems to have been lost."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        while True:
            held = list(self._working.items())
            await asyncio.sleep(self._ack_wait / 3)
            for task, message in held:
                if not task.done():
                    with contextlib.suppress(nats.errors.Error):
                        await message.in_progress()
            await self._listen_for_life(loop.time() - self._heard)
            await self._pull()

    async def _listen_for_life(self, silence: float) -> None:
        """A server owes signs of life for a request that is open: none is while all is in hand, or no more is taken."""
        if self._stopping or not (self._requested > 0 or self._asked_anew):
            self._heard += silence
        elif silence > _LEFT:
            log.warning("%s: the server is silent; another one is asked", self.durable)
            self.ask_anew()
            await self._client.force_reconnect()
        elif silence > _SILENCE and not self._asked_anew:
            self._requested, self._asked_anew = 0, True

    def ask_anew(self) -> None:
        """Forget what was requested: after a reconnect nobody knows of it any more."""
        self._requested, self._asked_anew = 0, False
        self._heard = asyncio.get_running_loop().time()
