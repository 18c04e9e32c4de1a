"""nats-py, guarded and quickened: what all services have in common on their one connection (ADR 0017).

Guarded, because a message that nats-py cannot decode ends its read loop, in silence and for good: anybody who may
publish a command could so make the service that reads it deaf, and the message would do it again after every reconnect.
What cannot be decoded is handed on as what can: the message is answered like any other bad one.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.nats.parser import QuickParser
from shared.nats.writer import Requests, Writing

_WRITING: WeakKeyDictionary[Client, Writing] = WeakKeyDictionary()


def adapt(client: Client) -> None:
    """Have *client* (nats-py 2.16) survive a subject that is no UTF-8 and a header block that is none, and be quick."""
    if "_build_message" in vars(client):
        return
    build, process = client._build_message, client._process_headers  # noqa: SLF001 - where nats-py decodes

    def build_message(sid: int, subject: bytes, reply: bytes, data: bytes, hdr: dict[str, str] | None) -> Msg:
        readable = subject.decode(errors="backslashreplace").encode()
        message: Msg = build(sid, readable, reply, data, hdr)
        return message

    async def process_headers(headers: bytes) -> dict[str, str] | None:
        try:
            return await process(headers)
        except (ValueError, IndexError):
            return None

    async def process_op_err(error: Exception) -> None:
        """Give the connection up at once: nats-py waits until a peer that is cut off has taken the rest."""
        if client.is_closed or client.is_reconnecting:
            return  # given up already: what there is by now is the next connection
        if (writer := getattr(client._transport, "_io_writer", None)) is not None:  # noqa: SLF001 - not exposed
            writer.transport.abort()
        await give_up(error)

    give_up = client._process_op_err  # noqa: SLF001 - where nats-py ends a connection
    writing, parser = Writing(client), QuickParser(client, client._ps)  # noqa: SLF001 - nothing of it is exposed
    vars(client).update(
        _build_message=build_message, _process_headers=process_headers, _send_publish=writing.send_publish, _ps=parser
    )
    vars(client).update(
        _process_op_err=process_op_err, request=Requests(client, client.request, subscribe_inline).request
    )
    _WRITING[client] = writing


async def subscribe_inline(client: Client, subject: str, hear: Callable[[Msg], None]) -> Subscription:
    """Have *hear* called with each message on *subject*, in order, from where it is read: without queue or task."""

    async def otherwise(message: Msg) -> None:
        hear(message)

    subscription = await client.subscribe(subject, cb=otherwise, pending_msgs_limit=-1, pending_bytes_limit=-1)
    if isinstance(parser := client._ps, QuickParser):  # noqa: SLF001 - as above
        parser.heard[subscription._id] = hear  # noqa: SLF001 - the number by which the server tells subscriptions apart
    return subscription


async def flush_subscriptions(client: Client) -> None:
    """Wait until the server has done all that *client* asked of it, subscriptions above all.

    nats-py's `flush` alone is not enough: its PING overtakes what its flusher has not written yet, so that it may be
    answered before a subscription is known (seen as a 503 to a request). By the first answer the flusher has had its
    turn; the second comes after what it wrote.
    """
    await client.flush()
    await client.flush()


async def force_reconnect(client: Client) -> None:
    """Go to another server: this one answers, but cannot do what it is asked (it may be cut off from its peers)."""
    await client._process_op_err(nats.errors.StaleConnectionError())  # noqa: SLF001 - it does nothing while it reconnects


def ack_nowait(client: Client, message: Msg) -> None:
    """Acknowledge *message* of a durable consumer, without waiting. If that is lost, it is delivered again."""
    if not client.is_closed:
        _WRITING[client].put(message.reply, b"")
