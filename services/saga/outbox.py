"""What the coordinator sends, made of a saga's state alone: announcements, the pending command, timers.

Made again, it is the same under the same ids; what was sent already is recognised by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.saga.core.pending_command import Question
from services.saga.core.state import Announced, Origin, Saga
from shared.contracts.base import Command
from shared.contracts.saga.protocol import (
    CompletionAnnouncement,
    SagaCompensated,
    SagaFailed,
    SagaNotUndone,
    SagaUndone,
    StartSaga,
)
from shared.messages.envelope import OutgoingMessage, encode_command, encode_event
from shared.messages.headers import Header, Lineage, NatsHeader, SagaContext
from shared.messages.ids import derive_id

SERVICE = "saga"
ENDINGS = (CompletionAnnouncement, SagaCompensated, SagaFailed, SagaUndone, SagaNotUndone)


def asked(saga: Saga[Any], pending: Question, command: Command) -> OutgoingMessage:
    """The *command* that is one of the saga's pending questions."""
    origin = saga.origin
    context = SagaContext(saga.saga_type, saga.saga_id, pending.label)
    lineage = Lineage(pending.command_id, origin.correlation_id, pending.cause, origin.actor, context, origin.trace)
    return encode_command(command, lineage, SERVICE)


def announcement(saga: Saga[Any], told: Announced) -> OutgoingMessage:
    origin = saga.origin
    context = SagaContext(saga.saga_type, saga.saga_id, getattr(told.event, "step", None) or "")
    lineage = Lineage(told.event_id, origin.correlation_id, told.cause, origin.actor, context, origin.trace)
    return encode_event(told.event, lineage, SERVICE)


def told_to_parent(saga: Saga[Any], told: Announced) -> Iterator[OutgoingMessage]:
    """What became of this saga, for the one that began it: an answer to its start, and to its being withdrawn."""
    origin, parent = saga.origin, saga.origin.parent
    if parent is None or not isinstance(told.event, ENDINGS):
        return
    for command_id in dict.fromkeys((origin.command_id, saga.cancelled_by)):
        if command_id is not None:
            answer_id = derive_id(told.event_id, f"to-parent/{command_id}")
            lineage = Lineage(answer_id, origin.correlation_id, command_id, origin.actor, parent, origin.trace)
            sealed = encode_event(told.event, lineage, SERVICE)
            yield OutgoingMessage(f"keys.timers.{parent.saga_id}.due", sealed.payload, sealed.headers)


def timer(saga: Saga[Any], at: datetime) -> OutgoingMessage:
    """A message that JetStream delivers at *at*; the next one on the same subject replaces it (ADR-51 of NATS)."""
    headers = {
        **_schedule(saga.saga_id, at),
        Header.EVENT_ID: str(derive_id(UUID(saga.saga_id), f"timer/{at.isoformat()}")),
        Header.SAGA_ID: saga.saga_id,
        Header.SAGA_TYPE: saga.saga_type,
        Header.SOURCE: SERVICE,
        **dict(saga.origin.trace),
    }
    return OutgoingMessage(f"keys.timers.{saga.saga_id}.wake", b"", headers)


def beginning(request: StartSaga, origin: Origin, at: datetime) -> OutgoingMessage:
    """The start of a saga that an event has triggered, delivered at *at*: till then there is no saga.

    On a subject of its own: told again, it replaces itself, and never the timer of the saga that it has begun.
    """
    saga_id = request.saga_id
    start_id = derive_id(UUID(saga_id), "start")
    lineage = Lineage(start_id, origin.correlation_id, origin.command_id, origin.actor, None, origin.trace)
    sealed = encode_command(request, lineage, SERVICE)
    return OutgoingMessage(f"keys.timers.{saga_id}.begin", sealed.payload, sealed.headers | _schedule(saga_id, at))


def _schedule(saga_id: str, at: datetime) -> dict[str, str]:
    """What is left of a message's headers when it fires: all but these and its Nats-Msg-Id."""
    return {
        NatsHeader.SCHEDULE: f"@at {at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        NatsHeader.SCHEDULE_TARGET: f"keys.timers.{saga_id}.due",
    }
