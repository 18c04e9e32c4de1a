"""Messages of a stream that allows direct gets, read by subject: one request, from whichever replica hears it.

A replica that lags may answer with what was last a moment ago; who must know better says from which sequence on.
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

_PATIENCE = 2.0
_NOT_FOUND, _END_OF_BATCH = "404", "204"


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as the stream keeps it; *at*: when it was stored."""

    subject: str
    data: bytes
    sequence: int
    at: datetime
    headers: Mapping[str, str]


async def get_last(client: Client, stream: str, subject: str) -> StoredMessage | None:
    """The last message on the literal *subject*. Raises Transient while nobody answers."""
    return await _get(client, stream, f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")


async def get_next(client: Client, stream: str, subject: str, sequence: int) -> StoredMessage | None:
    """The first message after *sequence* on the literal *subject*. Raises Transient as `last`."""
    wanted = to_json({"seq": sequence + 1, "next_by_subj": subject})
    return await _get(client, stream, f"$JS.API.DIRECT.GET.{stream}", wanted)


async def get_last_of_each(client: Client, stream: str, subjects: Sequence[str]) -> list[StoredMessage]:
    """The last message on each subject that *subjects* match, in the stream's order. Raises Transient as `last`."""
    inbox = client.new_inbox()
    found: list[StoredMessage] = []
    try:
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{stream}", to_json({"multi_last": list(subjects)}), reply=inbox)
            while (stored := _stored(await subscription.next_msg(timeout=_PATIENCE), stream)) is not None:
                found.append(stored)
        finally:
            await subscription.unsubscribe()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise Transient(f"{stream} does not answer: {type(error).__name__}") from error
    return found


async def _get(client: Client, stream: str, subject: str, wanted: bytes) -> StoredMessage | None:
    try:
        return _stored(await client.request(subject, wanted, timeout=_PATIENCE), stream)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise Transient(f"{stream} does not answer: {type(error).__name__}") from error


def _stored(message: Msg, stream: str) -> StoredMessage | None:
    """What was found, or None where the answer ends or says that there is nothing."""
    headers = message.headers or {}
    match headers.get("Status", ""):
        case "":
            at = datetime.fromisoformat(headers[NatsHeader.TIME_STAMP]).astimezone(UTC)
            return StoredMessage(
                headers[NatsHeader.SUBJECT], message.data, int(headers[NatsHeader.SEQUENCE]), at, headers
            )
        case status if status.startswith((_NOT_FOUND, _END_OF_BATCH)):
            return None
        case status:
            raise Transient(f"{stream} answers {status}")
