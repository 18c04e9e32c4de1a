"""Documents in a KV bucket, changed only over the revision that was read.

A bucket is the stream ``KV_<name>`` with subjects ``$KV.<name>.<key>``. It is written to directly, because nats-py
creates its own buckets with rollups on, and because a key's uniqueness may span a pattern (docs/adr/0003).
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

_SILENCE, _MOST_SILENCES = 1.0, 10
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""Error codes of a stale expectation; in a cluster it may be either (facts.md)."""


@dataclass(frozen=True, slots=True)
class Document:
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class KeyValue:
    js: JetStreamContext
    bucket: str

    async def get(self, key: str) -> Document | None:
        """The latest revision, from the leader; *key* may be a pattern that one key matches. None: there is none."""
        try:
            message = await self.js.get_msg(f"KV_{self.bucket}", subject=self._subject(key), direct=False)
        except NotFoundError:
            return None
        if message.headers and NatsHeader.KV_OPERATION in message.headers:
            return None  # a marker that another client left when it deleted the key
        return Document((message.subject or "")[len(self._subject("")) :], message.data or b"", message.seq or 0)

    async def put(
        self,
        key: str,
        value: bytes,
        revision: int,
        unique: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Write over *revision* (0: there must be none) of *key*, or of whatever matches the pattern *unique*.

        Returns the new revision. Raises Conflict when somebody else wrote meanwhile.
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
        """Overwrite the revision's bytes in the stream's files (secure erase). Erasing what is gone does nothing."""
        try:
            await self.js.delete_msg(f"KV_{self.bucket}", document.revision)
        except APIError:  # what the server says where there is nothing to delete is not one code
            if await self._holds(document.revision):
                raise

    async def replace(self, document: Document, value: bytes) -> int:
        """Write *value* over *document*, then erase that: a crash in between leaves both, never neither."""
        revision = await self.put(document.key, value, document.revision)
        await self.erase(document)
        return revision

    async def erase_all(self, key: str) -> None:
        """Erase every revision of *key*, which may be a pattern. Raises Conflict when one is there again every time."""
        last = 0
        while (document := await self.get(key)) is not None:
            if document.revision == last:
                raise Conflict(f"{self.bucket}/{document.key} cannot be erased")
            await self.erase(document)
            last = document.revision

    async def erase_overwritten(self) -> int:
        """Erase all that is not the latest revision of its key: what a crash in `replace` leaves. Returns how many."""
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
        """The latest revision of every key that *pattern* matches, as the bucket stood when this was asked."""
        async with aclosing(
            self._deliver(pattern, ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT))
        ) as documents:
            async for document in documents:
                yield document

    async def headers(self, pattern: str = ">") -> AsyncIterator[tuple[str, Mapping[str, str]]]:
        """The key and the headers of every latest revision, without reading what is in it."""
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
    """What an ordered consumer has to deliver until there is no more; it ends with the subscription.

    What was there to be delivered may be erased meanwhile, and then nothing says that there is no more: after a silence
    the consumer is asked. Raises nats.errors.TimeoutError when it has something and does not deliver it.
    """
    try:
        left, heard, silences = await _left(subscription, 0), 0, 0
        while left:
            try:
                message = await subscription.next_msg(timeout=_SILENCE)
            except nats.errors.TimeoutError:
                silences += 1
                if silences == _MOST_SILENCES:
                    raise
                left = await _left(subscription, heard)
                continue
            left, heard, silences = message.metadata.num_pending, message.metadata.sequence.consumer, 0
            yield message
    finally:
        with contextlib.suppress(nats.errors.Error):  # raised here, it would take the place of a cancellation
            await subscription.unsubscribe()


async def _left(subscription: JetStreamContext.PushSubscription, heard: int) -> int:
    """What is still to come after the message that was the *heard*-th: on its way already, or not yet."""
    asked = await subscription.consumer_info()
    delivered = asked.delivered.consumer_seq if asked.delivered else 0
    return (asked.num_pending or 0) + max(delivered - heard, 0)
