"""Moment of a simulation: a saga and the services that it sends commands to, as a value; each move makes the next one.

The services are idempotent, and do nothing that was undone before its command arrived. A moment records which steps
were done and undone, so that a check at the end finds what was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from services.saga.core import machine
from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import (
    EventReceived,
    Input,
    OperatorCommand,
    OperatorCommandReceived,
    SignalReceived,
    TimerFired,
)
from services.saga.core.state import Origin, Saga
from services.saga.core.steps import Step
from shared.contracts.base import Command, Event
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import StartSaga
from shared.messages.ids import derive_id
from tests.kit.replies import done_by, event_for, failed_by, rejection, repeated

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = UUID("01a1fbdc-0000-7000-8000-000000000001")
Fields = Mapping[str, Mapping[str, Any]]
"""Fields of outcomes that differ from the golden sample, by the name of the step."""


class Outcome(StrEnum):
    """Outcome of a command."""

    DONE = "done"
    ALREADY_DONE = "already done"
    FAILED = "failed"
    REJECTED = "rejected"
    REJECTED_FOR_NOW = "rejected for now"


class Effect(StrEnum):
    """State of a step in its service."""

    DONE = "done"
    UNDONE = "undone"
    VOID = "undone before it arrived"


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that the saga has sent. *part*: None for the step itself, else the index of its undo."""

    command_id: UUID
    label: str
    step: str
    part: int | None
    attempt: int
    command: Command

    @property
    def is_undo(self) -> bool:
        return self.part is not None


@dataclass(frozen=True, slots=True)
class Moment:
    """A saga, and its messages that are under way.

    *fields*: see `Fields`. *sent*: commands in order, each once. *waiting*: commands that have not arrived. *answers*:
    the event that answers each command. *unreceived*: the commands whose answers the saga has not received. *effects*:
    by step. *story*: everything that happened, line by line.
    """

    definition: AnyDefinition
    saga: Saga[Any]
    fields: Fields
    now: datetime = NOON
    sent: tuple[Sent, ...] = ()
    waiting: tuple[Sent, ...] = ()
    answers: Mapping[UUID, EventReceived] = field(default_factory=dict)
    unreceived: tuple[UUID, ...] = ()
    effects: Mapping[str, Effect] = field(default_factory=dict)
    announced: tuple[Event, ...] = ()
    signalled_by: tuple[str, ...] = ()
    story: tuple[str, ...] = ()

    @classmethod
    def begin(cls, definition: AnyDefinition, request: StartSaga, fields: Fields | None = None) -> Moment:
        if not request.saga_id:
            request = request.model_copy(update={"saga_id": str(START)})
        saga = machine.begin(definition, request, Origin(command_id=START, correlation_id=START, actor="tester"), NOON)
        return _sent(cls(definition, saga, fields or {}))

    # -- what may happen next ----------------------------------------------------------------------------------------

    def delivered(self, sent: Sent, outcome: Outcome = Outcome.DONE) -> Moment:
        """The service receives *sent* and answers; the saga has not received the answer yet."""
        event, effects = self._answered(sent, outcome)
        received = EventReceived(
            event_id=derive_id(sent.command_id, type(event).__name__),
            command_id=sent.command_id,
            event=event,
            at=self.now,
        )
        after = replace(
            self,
            waiting=tuple(each for each in self.waiting if each is not sent),
            answers={**self.answers, sent.command_id: received},
            unreceived=(*self.unreceived, sent.command_id),
            effects=effects,
        )
        return after.noting(f"{sent.label} <- {type(sent.command).__name__}: {outcome}")

    def received(self, command_id: UUID) -> Moment:
        """The saga receives the answer to that command."""
        unreceived = tuple(each for each in self.unreceived if each != command_id)
        answer = self.answers[command_id]
        return _advanced(replace(self, unreceived=unreceived).noting(f"receives {type(answer.event).__name__}"), answer)

    def with_timer_fired(self) -> Moment:
        """Time passes until the next timer fires."""
        assert self.saga.timer_at is not None
        now = max(self.now, self.saga.timer_at) + timedelta(milliseconds=1)
        timer = TimerFired(derive_id(START, now.isoformat()), now)
        return _advanced(replace(self, now=now).noting(f"{now - NOON} after noon"), timer)

    def after(self, passing: timedelta) -> Moment:
        """Time passes by *passing*, or until the saga sends a command: services do not take days to answer."""
        until, moment = self.now + passing, self
        while moment.saga.timer_at is not None and moment.saga.timer_at < until:
            moment = moment.with_timer_fired()
            if len(moment.sent) > len(self.sent):
                return moment
        return replace(moment, now=until)

    def signalled(self, actor: str, signal: str) -> Moment:
        """A person sends a signal, for whatever the saga waits for."""
        awaited = next((each.people.message_sha256 for each in self.saga.pending if each.people), None)
        command_id = derive_id(START, f"{actor}/{signal}/{awaited}/{len(self.signalled_by)}")
        received = SignalReceived(
            command_id=command_id, signal=signal, actor=actor, message_sha256=awaited, comment=None, at=self.now
        )
        return _advanced(
            replace(self, signalled_by=(*self.signalled_by, actor)).noting(f"{actor} signals {signal}"), received
        )

    def with_operator_command(self, command: OperatorCommand) -> Moment:
        name = type(command).__name__
        received = OperatorCommandReceived(
            derive_id(START, f"{name}/{self.now.isoformat()}/{len(self.story)}"), command, self.now
        )
        return _advanced(self.noting(f"an operator sends {name}"), received)

    def with_fields(self, step: str, fields: Mapping[str, Any]) -> Moment:
        return replace(self, fields={**self.fields, step: {**self.fields.get(step, {}), **fields}})

    def noting(self, line: str) -> Moment:
        return replace(self, story=(*self.story, line))

    # -- commands and answers ---------------------------------------------------------------------------------

    def pending_commands(self) -> Iterator[Sent]:
        """Yields the commands that the state of the saga asks for."""
        for pending, command in machine.pending_commands(self.definition, self.saga):
            yield Sent(pending.command_id, pending.label, pending.step, pending.part, pending.attempt, command)

    def step(self, sent: Sent) -> Step[Any]:
        step = self.definition.step(sent.step)
        assert isinstance(step, Step)
        return step

    def outcomes(self, sent: Sent) -> Iterator[Outcome]:
        """Yields the outcomes that the command may have, except that it is done."""
        step = self.step(sent)
        if sent.is_undo:
            yield Outcome.REJECTED
            return
        yield from (Outcome.REJECTED, Outcome.REJECTED_FOR_NOW)
        if step.already_done_ok:
            yield Outcome.ALREADY_DONE
        if failed_by(step) is not None:
            yield Outcome.FAILED

    def _answered(self, sent: Sent, outcome: Outcome) -> tuple[Event, Mapping[str, Effect]]:
        step, command_id, effect = self.step(sent), str(sent.command_id), self.effects.get(sent.step)
        if sent.is_undo:
            return self._answered_undo(sent, step, outcome)
        if effect in (Effect.UNDONE, Effect.VOID):
            return rejection(command_id, sent.command, RejectionCode.CONFLICT), self.effects
        match outcome:
            case Outcome.DONE:
                fields = self.fields.get(sent.step)
                return event_for(step.done, sent.command, fields), {**self.effects, sent.step: Effect.DONE}
            case Outcome.ALREADY_DONE:
                return repeated(command_id, sent.command), self.effects
            case Outcome.FAILED:
                event_type = failed_by(step)
                assert event_type is not None
                return event_for(event_type, sent.command), self.effects
            case Outcome.REJECTED:
                return rejection(command_id, sent.command, RejectionCode.NOT_ALLOWED), self.effects
            case Outcome.REJECTED_FOR_NOW:
                return rejection(command_id, sent.command, RejectionCode.UNAVAILABLE, retryable=True), self.effects

    def _answered_undo(self, sent: Sent, step: Step[Any], outcome: Outcome) -> tuple[Event, Mapping[str, Effect]]:
        command_id, effect = str(sent.command_id), self.effects.get(sent.step)
        if outcome is not Outcome.DONE:
            return rejection(command_id, sent.command, RejectionCode.NOT_ALLOWED), self.effects
        if effect is None and getattr(sent.command, "void_if_absent", True) is False:
            return rejection(command_id, sent.command, RejectionCode.NOT_FOUND), self.effects
        last = sent.part == len(step.undo) - 1
        effect_after = {None: Effect.VOID, Effect.DONE: Effect.UNDONE if last else Effect.DONE}.get(effect, effect)
        assert effect_after is not None
        return event_for(done_by(step, sent.part), sent.command), {**self.effects, sent.step: effect_after}


def _advanced(moment: Moment, received: Input) -> Moment:
    return _sent(replace(moment, saga=machine.advance(moment.definition, moment.saga, received)))


def _sent(moment: Moment) -> Moment:
    """Sends what the saga asks for, as the coordinator does after saving; each command once."""
    sent_ids = {each.command_id for each in moment.sent}
    new = tuple(sent for sent in moment.pending_commands() if sent.command_id not in sent_ids)
    new_events = tuple(each.event for each in moment.saga.announcements if each.event not in moment.announced)
    lines = (*(f"announces {type(event).__name__}" for event in new_events), *(f"sends {sent.label}" for sent in new))
    return replace(
        moment,
        sent=(*moment.sent, *new),
        waiting=(*moment.waiting, *new),
        announced=(*moment.announced, *new_events),
        story=(*moment.story, *lines),
    )
