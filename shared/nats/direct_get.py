"""Direct gets: reads of single messages by subject, one request each, to any replica.

A replica that lags may return an older message. Callers that need fresher data pass a minimum sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic_core import to_json

from shared.errors import Transient
from shared.messages.headers import NatsHeader

_TIMEOUT_S = 2.0
_NOT_FOUND, _END_OF_BATCH = "404", "204"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message of a stream; *at* is the time at which the server stored it."""

    subject: str
    data: bytes
    sequence: int
    at: datetime
    headers: Mapping[str, str]


async def get_last(client: Client, stream: str, subject: str) -> StoredMessage | None:
    """Reads the last message on the literal *subject*. Raises Transient without a reply."""
    return await _get(client, stream, f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")


async def get_next(client: Client, stream: str, subject: str, sequence: int) -> StoredMessage | None:
    """Reads the first message after *sequence* on the literal *subject*. Raises Transient without a reply."""
    request = to_json({"seq": sequence + 1, "next_by_subj": subject})
    return await _get(client, stream, f"$JS.API.DIRECT.GET.{stream}", request)


async def get_last_of_each(client: Client, stream: str, subjects: Sequence[str]) -> list[StoredMessage]:
    """Reads the last message of each matching subject, in stream order. Raises Transient without a reply."""
    inbox = client.new_inbox()
    found: list[StoredMessage] = []
    try:
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{stream}", to_json({"multi_last": list(subjects)}), reply=inbox)
            while (stored := _to_stored(await subscription.next_msg(timeout=_TIMEOUT_S), stream)) is not None:
                found.append(stored)
        finally:
            await subscription.unsubscribe()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise Transient(f"{stream} does not reply: {type(error).__name__}") from error
    return found


async def _get(client: Client, stream: str, subject: str, request: bytes) -> StoredMessage | None:
    try:
        return _to_stored(await client.request(subject, request, timeout=_TIMEOUT_S), stream)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise Transient(f"{stream} does not reply: {type(error).__name__}") from error


def _to_stored(message: Msg, stream: str) -> StoredMessage | None:
    """Converts a reply; None for "not found" and for the end of a batch."""
    headers = message.headers or {}
    match headers.get("Status", ""):
        case "":
            at = datetime.fromisoformat(headers[NatsHeader.TIME_STAMP]).astimezone(UTC)
            return StoredMessage(
                subject=headers[NatsHeader.SUBJECT],
                data=message.data,
                sequence=int(headers[NatsHeader.SEQUENCE]),
                at=at,
                headers=headers,
            )
        case status if status.startswith((_NOT_FOUND, _END_OF_BATCH)):
            return None
        case status:
            raise Transient(f"{stream} replied with status {status}")
