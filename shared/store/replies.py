"""Replies to commands that changed nothing: rejections, and results that exist already."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from nats.js import JetStreamContext

from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.envelope import ReceivedCommand, encode_event
from shared.store.idempotent_publish import has_message, publish_once
from shared.telemetry import instruments

log = logging.getLogger(__name__)


class Replies:
    """Publishes the replies of a service, at most one per command."""

    def __init__(self, js: JetStreamContext, service: str) -> None:
        self._js = js
        self._service = service

    async def send(self, received: ReceivedCommand[Any], reply: Rejection | AlreadyDone) -> None:
        command_id, kind = str(received.lineage.message_id), received.command_type
        event: CommandRejected | CommandRepeated
        match reply:
            case Rejection():
                event = CommandRejected(
                    command_id=command_id,
                    command_type=kind,
                    aggregate_id=received.aggregate_id,
                    code=reply.code,
                    message=reply.message,
                    details=dict(reply.details),
                    retryable=reply.retryable,
                )
            case AlreadyDone():
                event = CommandRepeated(
                    command_id=command_id,
                    command_type=kind,
                    aggregate_id=received.aggregate_id,
                    details=dict(reply.details),
                )
        instruments.record_outcome(type(event).__name__, reply.code if isinstance(reply, Rejection) else None)
        lineage = received.lineage.cause(type(event).__name__)
        await publish_once(self._js, encode_event(event, lineage, self._service))

    async def give_up(self, received: ReceivedCommand[Any]) -> None:
        """Rejects a command that failed in every delivery."""
        log.error("gave up %s %s", received.command_type, received.lineage.message_id)
        problem = "the command could not be carried out; the log of the service has the reason"
        await self.send(received, Rejection(RejectionCode.INTERNAL, problem, retryable=True))

    async def has_reply(self, command_id: UUID) -> bool:
        return await has_message(self._js, f"keys.events.command.*.{command_id}")
