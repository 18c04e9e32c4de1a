"""Key-value buckets with optimistic concurrency: each write names the revision that it replaces.

A bucket is the stream ``KV_<name>`` with subjects ``$KV.<name>.<key>``. This module writes to it directly, because
nats-py creates buckets with rollups, and because uniqueness may span a pattern of keys (docs/adr/0003).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from shared.errors import Conflict
from shared.messages.headers import NatsHeader
from shared.nats.ordered_consumer import ordered_subscribe

_TIMEOUT_S, _MAX_TIMEOUTS = 1.0, 10
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""Error codes of a wrong expected sequence; a cluster may return either."""


@dataclass(frozen=True, slots=True)
class Document:
    """One revision of a key."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One bucket."""

    js: JetStreamContext
    bucket: str

    async def get(self, key: str) -> Document | None:
        """Reads the latest revision from the leader, or None; *key* may be a pattern that one key matches."""
        try:
            message = await self.js.get_msg(f"KV_{self.bucket}", subject=self._subject(key), direct=False)
        except NotFoundError:
            return None
        if message.headers and NatsHeader.KV_OPERATION in message.headers:
            return None  # a delete marker of another client
        return Document((message.subject or "")[len(self._subject("")) :], message.data or b"", message.seq or 0)

    async def put(
        self,
        key: str,
        value: bytes,
        revision: int,
        unique: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Replaces *revision* (0: none exists) of *key*, or of the key that matches the pattern *unique*.

        Returns the new revision. Raises Conflict if another writer was first.
        """
        expectation = {NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        if unique is not None:
            expectation[NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT] = self._subject(unique)
        try:
            return (await self.js.publish(self._subject(key), value, headers={**(headers or {}), **expectation})).seq
        except APIError as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(f"{self.bucket}/{key} is no longer at revision {revision}") from error
            raise

    async def erase(self, document: Document) -> None:
        """Overwrites the bytes of the revision in the stream's files (secure erase). Idempotent."""
        try:
            await self.js.delete_msg(f"KV_{self.bucket}", document.revision)
        except APIError:  # the server has several error codes for a missing message
            if await self._holds(document.revision):
                raise

    async def replace(self, document: Document, value: bytes) -> int:
        """Writes *value* over *document*, then erases *document*: a crash in between leaves both, never neither."""
        revision = await self.put(document.key, value, document.revision)
        await self.erase(document)
        return revision

    async def erase_all(self, key: str) -> None:
        """Erases every revision of *key*, which may be a pattern. Raises Conflict if a revision cannot be erased."""
        last = 0
        while (document := await self.get(key)) is not None:
            if document.revision == last:
                raise Conflict(f"{self.bucket}/{document.key} cannot be erased")
            await self.erase(document)
            last = document.revision

    async def erase_overwritten(self) -> int:
        """Erases all older revisions, which a crash in `replace` may leave; returns their number."""
        latest: dict[str, Document] = {}
        older: list[Document] = []
        async for document in self._deliver(">", ConsumerConfig(deliver_policy=DeliverPolicy.ALL, headers_only=True)):
            if document.key in latest:
                older.append(latest[document.key])
            latest[document.key] = document
        for document in older:
            await self.erase(document)
        return len(older)

    async def all(self, pattern: str = ">") -> AsyncIterator[Document]:
        """Reads the latest revision of every key that matches *pattern*, as of the call."""
        async with aclosing(
            self._deliver(pattern, ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT))
        ) as documents:
            async for document in documents:
                yield document

    async def headers(self, pattern: str = ">") -> AsyncIterator[tuple[str, Mapping[str, str]]]:
        """Reads key and headers of every latest revision, without the value."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, headers_only=True)
        async with aclosing(self._messages(pattern, config)) as messages:
            async for message in messages:
                yield message.subject[len(self._subject("")) :], message.headers or {}

    async def _deliver(self, pattern: str, config: ConsumerConfig) -> AsyncGenerator[Document]:
        async with aclosing(self._messages(pattern, config)) as messages:
            async for message in messages:
                key = message.subject[len(self._subject("")) :]
                yield Document(key, message.data, message.metadata.sequence.stream)

    async def _messages(self, pattern: str, config: ConsumerConfig) -> AsyncGenerator[Msg]:
        subscription = await ordered_subscribe(self.js, f"KV_{self.bucket}", self._subject(pattern), config)
        async with aclosing(read_until_end(subscription)) as messages:
            async for message in messages:
                if not (message.headers and NatsHeader.KV_OPERATION in message.headers):
                    yield message

    async def _holds(self, revision: int) -> bool:
        try:
            await self.js.get_msg(f"KV_{self.bucket}", revision)
        except NotFoundError:
            return False
        return True

    def _subject(self, key: str) -> str:
        return f"$KV.{self.bucket}.{key}"


async def read_until_end(subscription: JetStreamContext.PushSubscription) -> AsyncGenerator[Msg]:
    """Yields the messages of an ordered consumer up to the current end of the stream, then unsubscribes.

    If messages are erased during the read, no message marks the end: after a timeout this reads the consumer's
    state. Raises nats.errors.TimeoutError if the consumer has messages and does not deliver them.
    """
    try:
        remaining, delivered_before, timeouts = await _remaining(subscription, 0), 0, 0
        while remaining:
            try:
                message = await subscription.next_msg(timeout=_TIMEOUT_S)
            except nats.errors.TimeoutError:
                timeouts += 1
                if timeouts == _MAX_TIMEOUTS:
                    raise
                remaining = await _remaining(subscription, delivered_before)
                continue
            remaining, delivered_before, timeouts = message.metadata.num_pending, message.metadata.sequence.consumer, 0
            yield message
    finally:
        with contextlib.suppress(nats.errors.Error):  # raised here, it would replace a cancellation
            await subscription.unsubscribe()


async def _remaining(subscription: JetStreamContext.PushSubscription, delivered_before: int) -> int:
    """Number of messages after the *delivered_before*-th: in flight or pending."""
    info = await subscription.consumer_info()
    delivered = info.delivered.consumer_seq if info.delivered else 0
    return (info.num_pending or 0) + max(delivered - delivered_before, 0)
