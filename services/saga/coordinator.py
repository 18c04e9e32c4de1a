"""The coordinator's edge: the events, timers and commands that it hears move sagas, or begin them."""

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
from services.saga.core import triggers
from services.saga.core.definition import AnyDefinition
from services.saga.core.machine import Due, Heard
from services.saga.core.operations import OperatorCommand, Ordered, where
from services.saga.core.operations import answer_to as answer_to_order
from services.saga.core.signals import Signalled, answer_to
from services.saga.core.state import Origin
from services.saga.core.triggers import Beginning
from services.saga.outbox import ENDINGS, SERVICE
from services.saga.saga_runner import Sagas
from services.saga.store import Forbidden, SagaStore, UnknownVersion
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

_EVENTS: dict[str, type[Event]] = {
    name: kind for name, kind in MESSAGES.items() if issubclass(kind, Event) and kind.aggregate_type != "saga"
}
_ENDS: dict[str, type[Event]] = {name: kind for name, kind in MESSAGES.items() if issubclass(kind, ENDINGS)}
log = logging.getLogger(__name__)


class Coordinator:
    """Any number of these may run: a saga's revision decides whose move counts, and the loser looks again."""

    def __init__(
        self, js: JetStreamContext, store: SagaStore, definitions: Mapping[type[StartSaga], AnyDefinition]
    ) -> None:
        self._sagas = Sagas(js, store, definitions)
        self._answers = Replies(js, SERVICE)
        self._starts = {kind.__name__: kind for kind in definitions}
        self._commands: dict[str, type[Command]] = {
            **self._starts,
            SignalSaga.__name__: SignalSaga,
            **{kind.__name__: kind for kind in get_args(OperatorCommand)},
        }
        # a saga's own words are in no contract
        self._ends = _ENDS | {each.completion.__name__: each.completion for each in definitions.values()}
        self._triggers = triggers.by_event_type(definitions.values())

    async def on_event(self, message: Msg) -> None:
        """An event: if a saga asked for it, its saga moves; if it is a trigger, sagas begin, now or at their time."""
        if not self.is_relevant(message):
            return
        triggered = self._triggers.get((message.headers or {}).get(Header.EVENT_TYPE, ""), ())
        lineage, event = decode_event(message, _EVENTS)
        try:
            if lineage.saga is not None:
                heard = Heard(lineage.message_id, lineage.causation_id, event, message.metadata.timestamp)
                await self._sagas.move(lineage.saga.saga_type, lineage.saga.saga_id, heard)
        finally:  # what it begins does not depend on whether the saga that asked for it can move
            for beginning in triggers.beginnings(triggered, lineage.message_id, event, message.metadata.timestamp):
                await self._begin_in_time(beginning, lineage)

    def is_relevant(self, message: Msg) -> bool:
        """Whether a saga asked for the event, or it is a trigger: most are neither."""
        headers = message.headers or {}
        return Header.SAGA_ID in headers or headers.get(Header.EVENT_TYPE, "") in self._triggers

    async def on_timer(self, message: Msg) -> None:
        """On `keys.timers.<saga id>.due`: a saga's time has come, or its beginning's; or a saga that it began ended."""
        headers, now = message.headers or {}, datetime.now(UTC)
        if Header.COMMAND_TYPE in headers:
            lineage = command_lineage(headers, new_id())
            request = self._read_start(message, headers[Header.COMMAND_TYPE])
            await self._sagas.begin(request, _triggered_by(lineage.causation_id, lineage, now), now)
            return
        if Header.EVENT_TYPE in headers:
            lineage, event = decode_event(message, self._ends)
            if lineage.saga is None:
                raise Poison(f"{message.subject} does not say which saga it is for")
            heard = Heard(lineage.message_id, lineage.causation_id, event, message.metadata.timestamp)
            await self._sagas.move(lineage.saga.saga_type, lineage.saga.saga_id, heard)
            return
        try:
            saga_type, saga_id, timer_id = (
                headers[name] for name in (Header.SAGA_TYPE, Header.SAGA_ID, Header.EVENT_ID)
            )
            due = Due(UUID(timer_id), now)
        except (KeyError, ValueError) as error:
            raise Poison(f"{message.subject} is no timer of the coordinator's") from error
        await self._sagas.move(saga_type, saga_id, due)

    async def on_command(self, message: Msg) -> None:
        received = decode_command(message, SERVICE, self._commands)
        again = message.metadata.num_delivered > 1
        if again and await self._answers.has_reply(received.lineage.message_id):
            return
        match received.body:
            case Rejection() as refused:
                await self._answers.send(received, refused)
            case SignalSaga() as signal:
                await self._signal(received, signal, (message.headers or {}).get(Header.ACTOR, "").strip())
            case StartSaga() as request:
                await self._start(received, request)
            case order if isinstance(order, get_args(OperatorCommand)):
                await self._order(received, order)
            case other:
                raise Poison(f"{type(other).__name__} is no command of a saga")

    async def give_up_command(self, message: Msg) -> None:
        received = decode_command(message, SERVICE, self._commands)
        try:
            await self._sagas.require_definition("*", received.aggregate_id or "")
        except UnknownVersion as error:
            await self._answers.send(received, Rejection(RejectionCode.UNAVAILABLE, str(error), retryable=True))
        else:
            await self._answers.give_up(received)

    async def give_up_event(self, message: Msg) -> bool:
        """What cannot be heard is let go: the step's own deadline decides what becomes of the saga. True: it was heard.

        What is for a saga whose definition is not here is not let go: it comes again (UnknownVersion), however often,
        and is heard where the definition is.
        """
        hear = self.on_timer if message.subject.startswith("keys.timers.") else self.on_event
        try:
            await hear(message)
        except UnknownVersion:
            raise
        except Exception:
            log.exception("%s at %s is given up", message.subject, message.metadata.sequence.stream)
            return False
        return True

    async def sweep(self) -> None:
        """Look at every saga that is not over."""
        await self._sagas.sweep()

    async def _begin_in_time(self, beginning: Beginning, lineage: Lineage) -> None:
        now = datetime.now(UTC)
        origin = _triggered_by(lineage.message_id, lineage, now)
        if beginning.at is None or beginning.at <= now:
            await self._sagas.begin(beginning.request, origin, now)
        else:
            await self._sagas.publish(outbox.beginning(beginning.request, origin, beginning.at))

    def _read_start(self, message: Msg, start: str) -> StartSaga:
        kind = self._starts.get(start)
        if kind is None:
            raise Transient(f"{message.subject} begins a saga that this coordinator has not the definition of")
        try:
            return kind.model_validate_json(message.data)
        except ValidationError as error:
            raise Poison(f"{message.subject} holds no {kind.__name__} that can be read") from error

    async def _start(self, received: ReceivedCommand[Any], request: StartSaga) -> None:
        lineage = received.lineage
        origin = Origin(
            lineage.message_id,
            lineage.correlation_id,
            lineage.actor,
            lineage.trace,
            at=received.at,
            parent=lineage.saga,
        )
        try:
            found = await self._sagas.begin(request, origin, received.at)
        except Forbidden:
            problem = f"saga {request.saga_id} was withdrawn before it began"
            await self._answers.send(received, Rejection(RejectionCode.CONFLICT, problem))
            return
        if found.saga.origin.command_id == lineage.message_id:
            return
        if found.saga.request == request:
            await self._answers.send(received, AlreadyDone(where(found.saga)))
        else:
            problem = f"saga {request.saga_id} exists already, with another request; choose another saga_id"
            await self._answers.send(received, Rejection(RejectionCode.CONFLICT, problem, where(found.saga)))

    async def _signal(self, received: ReceivedCommand[Any], signal: SignalSaga, actor: str) -> None:
        if actor in ("", "anonymous"):
            problem = "an approval needs a name: header CIM-Actor must say who gives it"
            await self._answers.send(received, Rejection(RejectionCode.NOT_ALLOWED, problem))
            return
        command_id = received.lineage.message_id
        said = Signalled(command_id, signal.signal, actor, signal.message_sha256, signal.comment, received.at)
        found = await self._sagas.move("*", signal.saga_id, said)
        if found is None:
            await self._answers.send(received, _no_saga(signal.saga_id))
        elif (answer := answer_to(found.saga, said)) is not None:
            await self._answers.send(received, answer)

    async def _order(self, received: ReceivedCommand[Any], command: OperatorCommand) -> None:
        order = Ordered(received.lineage.message_id, command, received.at)
        try:
            found = await self._sagas.move("*", command.saga_id, order)
            if found is None and isinstance(command, WithdrawSaga):
                await self._sagas.forbid(command.saga_id)
        except Forbidden:
            found = None
        if found is not None:
            answer = answer_to_order(found.definition, found.saga, order)
        elif isinstance(command, WithdrawSaga):
            answer = AlreadyDone({"phase": "forbidden"})
        else:
            answer = _no_saga(command.saga_id)
        if answer is not None:
            await self._answers.send(received, answer)


def _triggered_by(event_id: UUID, lineage: Lineage, at: datetime) -> Origin:
    return Origin(event_id, lineage.correlation_id, lineage.actor, lineage.trace, triggered=True, at=at)


def _no_saga(saga_id: str) -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no saga {saga_id}")
