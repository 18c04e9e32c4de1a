"""Saga coordinator: turns the messages of its three consumers into inputs of sagas, and replies to commands."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pydantic import ValidationError

from services.saga import outbox
from services.saga.core import machine, triggers
from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import (
    EventReceived,
    OperatorCommand,
    OperatorCommandReceived,
    SignalReceived,
    TimerFired,
)
from services.saga.core.state import Origin
from services.saga.core.triggers import TriggeredStart
from services.saga.outbox import FINAL_EVENTS, SERVICE
from services.saga.runner import SagaRunner
from services.saga.store import SagaStore, StartForbidden, UnknownVersion
from shared.contracts.base import Command, Event
from shared.contracts.registry import MESSAGES
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import SignalSaga, StartSaga, WithdrawSaga
from shared.decider import AlreadyDone, Rejection
from shared.errors import Poison, Transient
from shared.messages.envelope import ReceivedCommand, decode_command, decode_event
from shared.messages.headers import Header, Lineage, command_lineage
from shared.messages.ids import new_id
from shared.store.replies import Replies

_EVENT_TYPES: dict[str, type[Event]] = {
    name: message_type
    for name, message_type in MESSAGES.items()
    if issubclass(message_type, Event) and message_type.aggregate_type != "saga"
}
_FINAL_EVENT_TYPES: dict[str, type[Event]] = {
    name: message_type for name, message_type in MESSAGES.items() if issubclass(message_type, FINAL_EVENTS)
}
log = logging.getLogger(__name__)


class Coordinator:
    """Handles events, timers and commands. Any number of coordinators may run beside each other."""

    def __init__(
        self, js: JetStreamContext, store: SagaStore, definitions: Mapping[type[StartSaga], AnyDefinition]
    ) -> None:
        self._runner = SagaRunner(js, store, definitions)
        self._replies = Replies(js, SERVICE)
        self._start_types = {start_type.__name__: start_type for start_type in definitions}
        self._command_types: dict[str, type[Command]] = {
            **self._start_types,
            SignalSaga.__name__: SignalSaga,
            **{command_type.__name__: command_type for command_type in get_args(OperatorCommand)},
        }
        # the last event of a saga may be in no published contract
        own_types = {each.completion_type.__name__: each.completion_type for each in definitions.values()}
        self._final_event_types = _FINAL_EVENT_TYPES | own_types
        self._triggers = triggers.by_event_type(definitions.values())

    # -- events ------------------------------------------------------------------------------------------------------

    async def on_event(self, message: Msg) -> None:
        """Advances the saga whose command caused the event; starts the sagas that the event triggers."""
        if not self.is_relevant(message):
            return
        triggered = self._triggers.get((message.headers or {}).get(Header.EVENT_TYPE, ""), ())
        lineage, event = decode_event(message, _EVENT_TYPES)
        try:
            await self._advance_by_event(message, lineage, event)
        finally:  # a saga that cannot advance now must not keep others from starting
            stored_at = message.metadata.timestamp
            for start in triggers.triggered_starts(triggered, lineage.message_id, event, stored_at):
                await self._start_in_time(start, lineage)

    def is_relevant(self, message: Msg) -> bool:
        """Returns False for most events: those that no saga caused, and that are no trigger."""
        headers = message.headers or {}
        return Header.SAGA_ID in headers or headers.get(Header.EVENT_TYPE, "") in self._triggers

    async def _advance_by_event(self, message: Msg, lineage: Lineage, event: Event) -> None:
        if lineage.saga is not None:
            received = EventReceived(
                event_id=lineage.message_id,
                command_id=lineage.causation_id,
                event=event,
                at=message.metadata.timestamp,
            )
            await self._runner.advance(lineage.saga.saga_type, lineage.saga.saga_id, received)

    async def _start_in_time(self, start: TriggeredStart, lineage: Lineage) -> None:
        now = datetime.now(UTC)
        origin = _origin_of_trigger(lineage.message_id, lineage, now)
        if start.at is None or start.at <= now:
            await self._runner.begin(start.request, origin, now)
        else:
            await self._runner.publish(outbox.scheduled_start(start.request, origin, start.at))

    async def give_up_event(self, message: Msg) -> bool:
        """Drops a message that cannot be processed, and returns False; the timeout of its step then decides.

        It never drops a message for a saga whose definition is missing here: that raises UnknownVersion.
        """
        handle = self.on_timer if message.subject.startswith("keys.timers.") else self.on_event
        try:
            await handle(message)
        except UnknownVersion:
            raise
        except Exception:
            log.exception("giving up %s, sequence %s", message.subject, message.metadata.sequence.stream)
            return False
        return True

    # -- timers ------------------------------------------------------------------------------------------------------

    async def on_timer(self, message: Msg) -> None:
        """Handles `keys.timers.<saga id>.due`: a timer, a scheduled start, or the end of a child saga."""
        headers, now = message.headers or {}, datetime.now(UTC)
        if Header.COMMAND_TYPE in headers:
            lineage = command_lineage(headers, new_id())
            request = self._decode_start(message, headers[Header.COMMAND_TYPE])
            await self._runner.begin(request, _origin_of_trigger(lineage.causation_id, lineage, now), now)
            return
        if Header.EVENT_TYPE in headers:
            lineage, event = decode_event(message, self._final_event_types)
            if lineage.saga is None:
                raise Poison(f"{message.subject} does not say which saga it is for")
            await self._advance_by_event(message, lineage, event)
            return
        try:
            saga_type, saga_id = headers[Header.SAGA_TYPE], headers[Header.SAGA_ID]
            fired = TimerFired(UUID(headers[Header.EVENT_ID]), now)
        except (KeyError, ValueError) as error:
            raise Poison(f"{message.subject} is no timer of a saga") from error
        await self._runner.advance(saga_type, saga_id, fired)

    def _decode_start(self, message: Msg, type_name: str) -> StartSaga:
        start_type = self._start_types.get(type_name)
        if start_type is None:
            raise Transient(f"{message.subject} starts a saga whose definition this coordinator does not have")
        try:
            return start_type.model_validate_json(message.data)
        except ValidationError as error:
            raise Poison(f"{message.subject} holds no valid {start_type.__name__}") from error

    # -- commands ----------------------------------------------------------------------------------------------------

    async def on_command(self, message: Msg) -> None:
        received = decode_command(message, SERVICE, self._command_types)
        is_redelivery = message.metadata.num_delivered > 1
        if is_redelivery and await self._replies.has_reply(received.lineage.message_id):
            return
        match received.body:
            case Rejection() as rejection:
                await self._replies.send(received, rejection)
            case StartSaga() as request:
                await self._on_start(received, request)
            case SignalSaga() as signal:
                await self._on_signal(received, signal, (message.headers or {}).get(Header.ACTOR, "").strip())
            case command if isinstance(command, get_args(OperatorCommand)):
                await self._on_operator_command(received, command)
            case other:
                raise Poison(f"{type(other).__name__} is no command of a saga")

    async def _on_start(self, received: ReceivedCommand[Any], request: StartSaga) -> None:
        lineage = received.lineage
        origin = Origin(
            command_id=lineage.message_id,
            correlation_id=lineage.correlation_id,
            actor=lineage.actor,
            trace=lineage.trace,
            at=received.at,
            parent=lineage.saga,
        )
        try:
            stored = await self._runner.begin(request, origin, received.at)
        except StartForbidden:
            problem = f"saga {request.saga_id} was withdrawn before it began"
            await self._replies.send(received, Rejection(RejectionCode.CONFLICT, problem))
            return
        if stored.saga.origin.command_id == lineage.message_id:
            return
        summary = machine.summary_of(stored.saga)
        if stored.saga.request == request:
            await self._replies.send(received, AlreadyDone(summary))
        else:
            problem = f"saga {request.saga_id} exists already, with another request; choose another saga_id"
            await self._replies.send(received, Rejection(RejectionCode.CONFLICT, problem, details=summary))

    async def _on_signal(self, received: ReceivedCommand[Any], signal: SignalSaga, actor: str) -> None:
        if actor in ("", "anonymous"):
            problem = "an approval needs a name: header CIM-Actor must say who gives it"
            await self._replies.send(received, Rejection(RejectionCode.NOT_ALLOWED, problem))
            return
        signal_received = SignalReceived(
            command_id=received.lineage.message_id,
            signal=signal.signal,
            actor=actor,
            message_sha256=signal.message_sha256,
            comment=signal.comment,
            at=received.at,
        )
        stored = await self._runner.advance("*", signal.saga_id, signal_received)
        if stored is None:
            await self._replies.send(received, _no_such_saga(signal.saga_id))
        elif (reply := machine.reply_to_signal(stored.saga, signal_received)) is not None:
            await self._replies.send(received, reply)

    async def _on_operator_command(self, received: ReceivedCommand[Any], command: OperatorCommand) -> None:
        command_received = OperatorCommandReceived(received.lineage.message_id, command, received.at)
        try:
            stored = await self._runner.advance("*", command.saga_id, command_received)
            if stored is None and isinstance(command, WithdrawSaga):
                await self._runner.forbid(command.saga_id)
        except StartForbidden:
            stored = None
        reply: Rejection | AlreadyDone | None
        if stored is not None:
            reply = machine.reply_to_operator(stored.definition, stored.saga, command_received)
        elif isinstance(command, WithdrawSaga):
            reply = AlreadyDone({"phase": "forbidden"})
        else:
            reply = _no_such_saga(command.saga_id)
        if reply is not None:
            await self._replies.send(received, reply)

    async def give_up_command(self, message: Msg) -> None:
        """Rejects a command that could not be applied in any of its deliveries."""
        received = decode_command(message, SERVICE, self._command_types)
        try:
            await self._runner.require_definition("*", received.aggregate_id or "")
        except UnknownVersion as error:
            await self._replies.send(received, Rejection(RejectionCode.UNAVAILABLE, str(error), retryable=True))
        else:
            await self._replies.give_up(received)

    # -- watchdog ----------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Looks at every unfinished saga."""
        await self._runner.sweep()


def _origin_of_trigger(event_id: UUID, lineage: Lineage, at: datetime) -> Origin:
    return Origin(
        command_id=event_id,
        correlation_id=lineage.correlation_id,
        actor=lineage.actor,
        trace=lineage.trace,
        triggered=True,
        at=at,
    )


def _no_such_saga(saga_id: str) -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no saga {saga_id}")
