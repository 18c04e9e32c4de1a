"""Dead letters in KEYS_DEAD_LETTERS: messages that could not be processed, with the reason, per consumer.

A dead letter is written after the reply and before the ack: no message is lost, and none is redelivered without end
(docs/adr/0021).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import TypeAdapter

from shared.errors import Conflict
from shared.nats.kv import Document, KeyValue

BUCKET = "KEYS_DEAD_LETTERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be processed; *reply* is its ack subject, which contains its stream position."""

    stream: str
    consumer: str
    sequence: int
    subject: str
    reply: str
    headers: dict[str, str]
    body: str = field(repr=False)
    deliveries: int
    reason: str
    at: datetime

    @property
    def key(self) -> str:
        return f"{self.stream}.{self.consumer}.{self.sequence}"

    def message(self, client: Client) -> Msg:
        """Rebuilds the message of the last delivery."""
        return Msg(client, self.subject, self.reply, base64.b64decode(self.body), dict(self.headers) or None)


_DOCUMENT = TypeAdapter(DeadLetter)


class DeadLetters:
    """The store of dead letters."""

    def __init__(self, bucket: KeyValue, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._bucket = bucket
        self._clock = clock

    async def keep(self, message: Msg, consumer: str, reason: str) -> None:
        """Stores *message* with the *reason*; a reason that is stored already stays."""
        about = message.metadata
        dead_letter = DeadLetter(
            stream=about.stream,
            consumer=consumer,
            sequence=about.sequence.stream,
            subject=message.subject,
            reply=message.reply,
            headers=dict(message.headers or {}),
            body=base64.b64encode(message.data).decode(),
            deliveries=about.num_delivered,
            reason=reason[:512],
            at=self._clock(),
        )
        if await self._bucket.get(dead_letter.key) is None:
            try:
                await self._bucket.put(dead_letter.key, _DOCUMENT.dump_json(dead_letter), 0)
            except Conflict:
                return  # another delivery has stored it

    async def find(self, key: str) -> DeadLetter | None:
        document = await self._bucket.get(key)
        return _DOCUMENT.validate_json(document.value) if document is not None else None

    async def all(self) -> AsyncIterator[DeadLetter]:
        async for document in self._bucket.all():
            yield _DOCUMENT.validate_json(document.value)

    async def drop(self, key: str) -> bool:
        """Deletes a dead letter that was processed or is not needed. False if there is none."""
        document: Document | None = await self._bucket.get(key)
        if document is not None:
            await self._bucket.erase(document)
        return document is not None


def summary(dead_letter: DeadLetter) -> dict[str, Any]:
    """Summarises a dead letter without its body, which may be a secret in the wrong place."""
    return {
        "letter": dead_letter.key,
        "subject": dead_letter.subject,
        "at": dead_letter.at.isoformat(timespec="seconds"),
        "deliveries": dead_letter.deliveries,
        "reason": dead_letter.reason,
    }
