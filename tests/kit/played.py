"""A saga and those whom it asks, at one moment: a value, from which a test makes the next one.

Who is asked does a thing once, however often it is told, and does nothing that was taken back before it arrived. Of
each step is known whether it was done and undone, so that it can be told at the end whether anything was forgotten.
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
from tests.kit.answering import answer, done_by, failed_by, refusal, standing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = UUID("01a1fbdc-0000-7000-8000-000000000001")
Said = Mapping[str, Mapping[str, Any]]
"""What is answered, by the step's name: fields of its event that are not as the golden sample has them."""


class Outcome(StrEnum):
    DONE = "done"
    STANDS = "stands already"
    FAILED = "failed"
    REFUSED = "refused"
    REFUSED_FOR_NOW = "refused for now"


class Effect(StrEnum):
    DONE = "done"
    UNDONE = "undone"
    VOID = "taken back before it arrived"


@dataclass(frozen=True, slots=True)
class Sent:
    """A command of the saga's. *part* is None for the step itself, else which of its undos; *attempt* counts from 1."""

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
class Played:
    """*sent*: in order, each once. *waiting*: those that have not arrived. *answers*: by the command's id. *unheard*:
    of which commands the saga has not heard the answer. *effects*: what became of each step. *told*: announcements."""

    definition: AnyDefinition
    saga: Saga[Any]
    said: Said
    now: datetime = NOON
    sent: tuple[Sent, ...] = ()
    waiting: tuple[Sent, ...] = ()
    answers: Mapping[UUID, EventReceived] = field(default_factory=dict)
    unheard: tuple[UUID, ...] = ()
    effects: Mapping[str, Effect] = field(default_factory=dict)
    told: tuple[Event, ...] = ()
    said_by: tuple[str, ...] = ()
    story: tuple[str, ...] = ()

    @classmethod
    def begin(cls, definition: AnyDefinition, request: StartSaga, said: Said | None = None) -> Played:
        if not request.saga_id:
            request = request.model_copy(update={"saga_id": str(START)})
        saga = machine.begin(definition, request, Origin(command_id=START, correlation_id=START, actor="tester"), NOON)
        return _sending(cls(definition, saga, said or {}))

    # -- what may happen next ----------------------------------------------------------------------------------------

    def delivered(self, sent: Sent, outcome: Outcome = Outcome.DONE) -> Played:
        """*sent* arrives, and is answered; nothing is heard of that yet."""
        event, effects = self._answered(sent, outcome)
        heard = EventReceived(
            event_id=derive_id(sent.command_id, type(event).__name__),
            command_id=sent.command_id,
            event=event,
            at=self.now,
        )
        after = replace(
            self,
            waiting=tuple(each for each in self.waiting if each is not sent),
            answers={**self.answers, sent.command_id: heard},
            unheard=(*self.unheard, sent.command_id),
            effects=effects,
        )
        return after.telling(f"{sent.label} <- {type(sent.command).__name__}: {outcome}")

    def hearing(self, command_id: UUID) -> Played:
        """The saga hears the answer to that command."""
        unheard = tuple(each for each in self.unheard if each != command_id)
        heard = self.answers[command_id]
        return _moved(replace(self, unheard=unheard).telling(f"hears {type(heard.event).__name__}"), heard)

    def later(self) -> Played:
        """Time goes on to what is due next."""
        assert self.saga.timer_at is not None
        now = max(self.now, self.saga.timer_at) + timedelta(milliseconds=1)
        timer = TimerFired(derive_id(START, now.isoformat()), now)
        return _moved(replace(self, now=now).telling(f"{now - NOON} after noon"), timer)

    def after(self, passing: timedelta) -> Played:
        """Time goes on by *passing*, or until somebody is asked something: answers do not take days."""
        until, played = self.now + passing, self
        while played.saga.timer_at is not None and played.saga.timer_at < until:
            played = played.later()
            if len(played.sent) > len(self.sent):
                return played
        return replace(played, now=until)

    def saying(self, actor: str, signal: str) -> Played:
        """One person says it, of whatever is waited for."""
        awaited = next((each.people.message_sha256 for each in self.saga.pending if each.people), None)
        command_id = derive_id(START, f"{actor}/{signal}/{awaited}/{len(self.said_by)}")
        said = SignalReceived(
            command_id=command_id, signal=signal, actor=actor, message_sha256=awaited, comment=None, at=self.now
        )
        return _moved(replace(self, said_by=(*self.said_by, actor)).telling(f"{actor} says {signal}"), said)

    def ordered(self, command: OperatorCommand) -> Played:
        name = type(command).__name__
        order = OperatorCommandReceived(
            derive_id(START, f"{name}/{self.now.isoformat()}/{len(self.story)}"), command, self.now
        )
        return _moved(self.telling(f"an operator: {name}"), order)

    def with_said(self, step: str, fields: Mapping[str, Any]) -> Played:
        return replace(self, said={**self.said, step: {**self.said.get(step, {}), **fields}})

    def telling(self, line: str) -> Played:
        return replace(self, story=(*self.story, line))

    # -- what is asked, and answered ---------------------------------------------------------------------------------

    def asking(self) -> Iterator[Sent]:
        """What the saga's state says is to be asked now."""
        for pending, command in machine.pending_commands(self.definition, self.saga):
            yield Sent(pending.command_id, pending.label, pending.step, pending.part, pending.attempt, command)

    def step(self, sent: Sent) -> Step[Any]:
        step = self.definition.step(sent.step)
        assert isinstance(step, Step)
        return step

    def outcomes(self, sent: Sent) -> Iterator[Outcome]:
        """How else it may be answered than that it is done."""
        step = self.step(sent)
        if sent.is_undo:
            yield Outcome.REFUSED
            return
        yield from (Outcome.REFUSED, Outcome.REFUSED_FOR_NOW)
        if step.already_done_ok:
            yield Outcome.STANDS
        if failed_by(step) is not None:
            yield Outcome.FAILED

    def _answered(self, sent: Sent, outcome: Outcome) -> tuple[Event, Mapping[str, Effect]]:
        step, command_id, effect = self.step(sent), str(sent.command_id), self.effects.get(sent.step)
        if sent.is_undo:
            return self._undoing(sent, step, outcome)
        if effect in (Effect.UNDONE, Effect.VOID):
            return refusal(command_id, sent.command, RejectionCode.CONFLICT), self.effects
        match outcome:
            case Outcome.DONE:
                said = self.said.get(sent.step)
                return answer(step.done, sent.command, said), {**self.effects, sent.step: Effect.DONE}
            case Outcome.STANDS:
                return standing(command_id, sent.command), self.effects
            case Outcome.FAILED:
                kind = failed_by(step)
                assert kind is not None
                return answer(kind, sent.command), self.effects
            case Outcome.REFUSED:
                return refusal(command_id, sent.command, RejectionCode.NOT_ALLOWED), self.effects
            case Outcome.REFUSED_FOR_NOW:
                return refusal(command_id, sent.command, RejectionCode.UNAVAILABLE, retryable=True), self.effects

    def _undoing(self, sent: Sent, step: Step[Any], outcome: Outcome) -> tuple[Event, Mapping[str, Effect]]:
        command_id, effect = str(sent.command_id), self.effects.get(sent.step)
        if outcome is not Outcome.DONE:
            return refusal(command_id, sent.command, RejectionCode.NOT_ALLOWED), self.effects
        if effect is None and getattr(sent.command, "void_if_absent", True) is False:
            return refusal(command_id, sent.command, RejectionCode.NOT_FOUND), self.effects
        last = sent.part == len(step.undo) - 1
        became = {None: Effect.VOID, Effect.DONE: Effect.UNDONE if last else Effect.DONE}.get(effect, effect)
        assert became is not None
        return answer(done_by(step, sent.part), sent.command), {**self.effects, sent.step: became}


def _moved(played: Played, received: Input) -> Played:
    return _sending(replace(played, saga=machine.advance(played.definition, played.saga, received)))


def _sending(played: Played) -> Played:
    """What the coordinator does once the state is saved: what was sent already is not sent again here."""
    known = {each.command_id for each in played.sent}
    new = tuple(sent for sent in played.asking() if sent.command_id not in known)
    told = tuple(each.event for each in played.saga.announcements if each.event not in played.told)
    lines = (*(f"announces {type(event).__name__}" for event in told), *(f"asks {sent.label}" for sent in new))
    return replace(
        played,
        sent=(*played.sent, *new),
        waiting=(*played.waiting, *new),
        told=(*played.told, *told),
        story=(*played.story, *lines),
    )
