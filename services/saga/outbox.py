"""Outbox of a saga: the messages that its state requires. Built again, they have the same ids and are deduplicated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.saga.core.state import Origin, PendingAnnouncement, PendingStep, Saga
from shared.contracts.base import Command
from shared.contracts.saga.protocol import (
    Completed,
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
FINAL_EVENTS = (Completed, SagaCompensated, SagaFailed, SagaUndone, SagaNotUndone)


def announcement_message(saga: Saga[Any], announcement: PendingAnnouncement) -> OutgoingMessage:
    context = SagaContext(saga.saga_type, saga.saga_id, getattr(announcement.event, "step", None) or "")
    lineage = _lineage(saga.origin, announcement.event_id, cause=announcement.cause, context=context)
    return encode_event(announcement.event, lineage, SERVICE)


def messages_to_parent(saga: Saga[Any], announcement: PendingAnnouncement) -> Iterator[OutgoingMessage]:
    """Yields the end of this saga for its parent: the outcome of its start, and of its withdrawal."""
    origin, parent = saga.origin, saga.origin.parent
    if parent is None or not isinstance(announcement.event, FINAL_EVENTS):
        return
    for command_id in dict.fromkeys((origin.command_id, saga.cancelled_by)):
        if command_id is not None:
            event_id = derive_id(announcement.event_id, f"to-parent/{command_id}")
            lineage = _lineage(origin, event_id, cause=command_id, context=parent)
            encoded = encode_event(announcement.event, lineage, SERVICE)
            yield OutgoingMessage(f"keys.timers.{parent.saga_id}.due", encoded.payload, encoded.headers)


def command_message(saga: Saga[Any], pending: PendingStep, command: Command) -> OutgoingMessage:
    context = SagaContext(saga.saga_type, saga.saga_id, pending.label)
    lineage = _lineage(saga.origin, pending.command_id, cause=pending.cause, context=context)
    return encode_command(command, lineage, SERVICE)


def timer_message(saga: Saga[Any], at: datetime) -> OutgoingMessage:
    """Schedules the timer of the saga; it replaces the one before, which had the same subject (NATS ADR-51)."""
    headers = {
        **_schedule(saga.saga_id, at),
        Header.EVENT_ID: str(derive_id(UUID(saga.saga_id), f"timer/{at.isoformat()}")),
        Header.SAGA_ID: saga.saga_id,
        Header.SAGA_TYPE: saga.saga_type,
        Header.SOURCE: SERVICE,
        **dict(saga.origin.trace),
    }
    return OutgoingMessage(f"keys.timers.{saga.saga_id}.wake", b"", headers)


def scheduled_start(request: StartSaga, origin: Origin, at: datetime) -> OutgoingMessage:
    """Schedules the start of a saga that an event has triggered; until then it has no entry.

    Its subject is not that of the saga's timer, which a redelivered trigger would otherwise replace.
    """
    saga_id = request.saga_id
    start_id = derive_id(UUID(saga_id), "start")
    lineage = _lineage(origin, start_id, cause=origin.command_id, context=None)
    encoded = encode_command(request, lineage, SERVICE)
    return OutgoingMessage(f"keys.timers.{saga_id}.begin", encoded.payload, encoded.headers | _schedule(saga_id, at))


def _lineage(origin: Origin, message_id: UUID, *, cause: UUID, context: SagaContext | None) -> Lineage:
    """Makes the lineage of a message; conversation, actor and trace are inherited from the origin of the saga."""
    return Lineage(
        message_id=message_id,
        correlation_id=origin.correlation_id,
        causation_id=cause,
        actor=origin.actor,
        saga=context,
        trace=origin.trace,
    )


def _schedule(saga_id: str, at: datetime) -> dict[str, str]:
    """Returns the headers of a scheduled message; the server removes them, and Nats-Msg-Id, on delivery."""
    return {
        NatsHeader.SCHEDULE: f"@at {at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        NatsHeader.SCHEDULE_TARGET: f"keys.timers.{saga_id}.due",
    }
