"""FastStream middlewares of a durable consumer, outermost first: acknowledgement, telemetry, dead letters, rejection.

An instance serves all messages of its subscriber (`shared.process.subscriber`): all that it does is in `consume_scope`.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import nats.errors
from faststream import BaseMiddleware
from nats.aio.msg import Msg

from shared.errors import Conflict, Poison, Transient
from shared.telemetry.instruments import observe

if TYPE_CHECKING:
    from faststream._internal.basic_types import AsyncFuncAny
    from faststream._internal.context.repository import ContextRepo
    from faststream.message import StreamMessage

    from shared.process.subscriber import MiddlewareFactory

MAX_DELIVERIES = 12
MIN_DELAY_S, MAX_DELAY_S, MAX_DELAY_WITHOUT_SERVER_S = 0.05, 15.0, 2.0
"""Bounds of the backoff. A cluster elects another leader within seconds: its messages wait no longer than that."""
_MAX_REMEMBERED_ERRORS, _MAX_ERROR_LENGTH = 1000, 256
_SERVER_ERRORS = (nats.errors.Error, ConnectionError, TimeoutError)
_RETRYABLE_ERRORS = (Conflict, Transient, *_SERVER_ERRORS)

GiveUp = Callable[[Msg], Awaitable[bool | None]]
"""Answers a message that cannot be processed. True: it was carried out after all, and no dead letter is needed."""
StoreDeadLetter = Callable[[Msg, str], Awaitable[None]]
Reject = Callable[[Any], Awaitable[bool]]
"""Rejects a decoded message if it has to be. False: it has not, and nothing was done."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """Number of deliveries before a message is given up, and bounds of the delay between them."""

    max_deliveries: int = MAX_DELIVERIES
    max_delay_s: float = MAX_DELAY_S
    max_delay_without_server_s: float = MAX_DELAY_WITHOUT_SERVER_S


class LastErrors:
    """The last error of each message that is being retried, by its stream sequence."""

    def __init__(self) -> None:
        self._by_sequence: dict[int, str] = {}

    def remember(self, message: Msg, error: str) -> None:
        if len(self._by_sequence) >= _MAX_REMEMBERED_ERRORS:
            self._by_sequence.clear()
        self._by_sequence[message.metadata.sequence.stream] = error[:_MAX_ERROR_LENGTH]

    def of(self, message: Msg) -> str:
        return self._by_sequence.get(message.metadata.sequence.stream, "the service's log says why")

    def forget(self, message: Msg) -> None:
        self._by_sequence.pop(message.metadata.sequence.stream, None)


class AcknowledgementMiddleware(BaseMiddleware[Any, Msg | None]):
    """Acks what was processed and naks what was not, with backoff. FastStream's own naks without a delay.

    A bug's error is retried like a transient one: its traceback is in the log.
    """

    def __init__(
        self, message: Msg | None, /, *, context: ContextRepo, retries: RetryOptions, errors: LastErrors
    ) -> None:
        super().__init__(message, context=context)
        self._retries = retries
        self._errors = errors

    async def consume_scope(self, call_next: AsyncFuncAny, msg: StreamMessage[Msg]) -> Any:
        try:
            result = await call_next(msg)
            await msg.ack()
            self._errors.forget(msg.raw_message)
        except _RETRYABLE_ERRORS as error:
            log.warning("%s: delivery %d put off: %s", *_about(msg), error)
            self._errors.remember(msg.raw_message, str(error) or type(error).__name__)
            without_server = isinstance(error, _SERVER_ERRORS)
            max_delay_s = self._retries.max_delay_without_server_s if without_server else self._retries.max_delay_s
            await self._nak(msg.raw_message, max_delay_s)
        except Exception as error:
            log.exception("%s: delivery %d failed", *_about(msg))
            self._errors.remember(msg.raw_message, type(error).__name__)  # its text may hold a secret
            await self._nak(msg.raw_message, self._retries.max_delay_s)
        else:
            return result
        return None

    async def _nak(self, message: Msg, max_delay_s: float) -> None:
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - not for cryptography
        delay_s = min(MIN_DELAY_S * 2 ** min(message.metadata.num_delivered, 16), max_delay_s) * jitter
        with contextlib.suppress(nats.errors.Error):
            await message.nak(delay=delay_s)


def _about(msg: StreamMessage[Msg]) -> tuple[str, int]:
    return msg.raw_message.subject, msg.raw_message.metadata.num_delivered


class TelemetryMiddleware(BaseMiddleware[Any, Msg | None]):
    """A span and a duration for each delivery."""

    def __init__(self, message: Msg | None, /, *, context: ContextRepo, durable: str) -> None:
        super().__init__(message, context=context)
        self._durable = durable

    async def consume_scope(self, call_next: AsyncFuncAny, msg: StreamMessage[Msg]) -> Any:
        with observe(msg.raw_message, self._durable):
            return await call_next(msg)


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """*give_up* answers the message; *store* then keeps it with the reason."""

    give_up: GiveUp
    store: StoreDeadLetter | None = None


class DeadLetterMiddleware(BaseMiddleware[Any, Msg | None]):
    """Gives up a poison message at once, and any other after its last delivery."""

    def __init__(
        self,
        message: Msg | None,
        /,
        *,
        context: ContextRepo,
        policy: DeadLetterPolicy,
        max_deliveries: int,
        errors: LastErrors,
    ) -> None:
        super().__init__(message, context=context)
        self._policy = policy
        self._max_deliveries = max_deliveries
        self._errors = errors

    async def consume_scope(self, call_next: AsyncFuncAny, msg: StreamMessage[Msg]) -> Any:
        message: Msg = msg.raw_message
        if message.metadata.num_delivered > self._max_deliveries:
            tried = f"tried {self._max_deliveries} times; the last time: {self._errors.of(message)}"
            return await self._give_up(message, tried)
        try:
            return await call_next(msg)
        except Poison as error:
            log.error("%s: %s", message.subject, error)  # noqa: TRY400 - the message is at fault, not the code
            return await self._give_up(message, str(error))

    async def _give_up(self, message: Msg, reason: str) -> None:
        """Answers the message, then stores it: it is acknowledged only after both."""
        carried_out = await self._policy.give_up(message)
        if self._policy.store is not None and not carried_out:
            await self._policy.store(message, reason)


class RejectionMiddleware(BaseMiddleware[Any, Msg | None]):
    """Rejects a command that cannot be read; the handler gets only commands that can."""

    def __init__(self, message: Msg | None, /, *, context: ContextRepo, reject: Reject) -> None:
        super().__init__(message, context=context)
        self._reject = reject

    async def consume_scope(self, call_next: AsyncFuncAny, msg: StreamMessage[Msg]) -> Any:
        if not await self._reject(await msg.decode()):
            return await call_next(msg)
        return None


def delivery_middlewares(
    durable: str, dead_letters: DeadLetterPolicy, retries: RetryOptions, *, observed: bool
) -> list[MiddlewareFactory]:
    """The middlewares of every durable consumer, in their order: what is inside may raise to what is outside."""
    errors = LastErrors()
    return [
        partial(AcknowledgementMiddleware, retries=retries, errors=errors),
        *([partial(TelemetryMiddleware, durable=durable)] if observed else []),
        partial(DeadLetterMiddleware, policy=dead_letters, max_deliveries=retries.max_deliveries, errors=errors),
    ]
