"""Conversation with one saga: a test answers its commands, lets time pass and looks at its state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import OperatorCommand
from services.saga.core.state import Saga
from shared.contracts.base import Command, Event
from shared.contracts.saga.protocol import CancelSaga, StartSaga
from tests.kit.invariants import Broken, check_end, check_state
from tests.kit.moment import Fields, Moment, Outcome, Sent

_MAX_MOVES = 10_000


class Conversation:
    """A saga whose first steps are pending. Every method checks the invariants and returns the conversation."""

    def __init__(self, definition: AnyDefinition, request: StartSaga, *, answers: Fields | None = None) -> None:
        self._moment = Moment.begin(definition, request, answers)

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> list[str]:
        """Names of the pending steps; `undo.<step>` for an undo."""
        return [pending.label for pending in self._moment.saga.pending]

    @property
    def sent(self) -> list[str]:
        """Steps whose commands it has sent, in order; an undo of several parts is there once for each."""
        return [sent.label for sent in self._moment.sent]

    @property
    def commands(self) -> list[Command]:
        return [sent.command for sent in self._moment.sent]

    @property
    def announced(self) -> list[Event]:
        return list(self._moment.announced)

    @property
    def phase(self) -> str:
        return str(self._moment.saga.phase)

    @property
    def left_over(self) -> list[str]:
        return [left.step for left in self._moment.saga.left_over]

    @property
    def stuck(self) -> list[str]:
        """Steps that wait for an operator."""
        return [pending.label for pending in self._moment.saga.pending if pending.stuck is not None]

    @property
    def saga(self) -> Saga[Any]:
        """Its state, as it is stored."""
        return self._moment.saga

    @property
    def story(self) -> str:
        return "\n".join(self._moment.story)

    # -- moves ---------------------------------------------------------------------------------------------------------

    def complete(self, step: str, **fields: Any) -> Conversation:
        """The service does the step; *fields* of the event differ from the golden sample."""
        return self._reply(step, Outcome.DONE, fields)

    def reject(self, step: str, *, for_now: bool = False) -> Conversation:
        return self._reply(step, Outcome.REJECTED_FOR_NOW if for_now else Outcome.REJECTED)

    def fail(self, step: str) -> Conversation:
        """The service fails the step, by the event that the definition names."""
        return self._reply(step, Outcome.FAILED)

    def already_done(self, step: str) -> Conversation:
        """The service replies that the step is already done."""
        return self._reply(step, Outcome.ALREADY_DONE)

    def signal(self, actor: str, signal: str = "approve") -> Conversation:
        return self._move_to(self._moment.signalled(actor, signal))

    def cancel(self) -> Conversation:
        return self.send(CancelSaga)

    def send(self, command_type: type[OperatorCommand]) -> Conversation:
        """An operator sends a command of that type."""
        return self._move_to(self._moment.with_operator_command(command_type(saga_id=self._moment.saga.saga_id)))

    def wait(self, passing: timedelta) -> Conversation:
        """Time passes on the virtual clock; it stops when the saga sends a command."""
        return self._move_to(self._moment.after(passing))

    def run(self, *people: str) -> Conversation:
        """Runs to the end without faults: services answer, *people* send the awaited signals, timers fire."""
        for _ in range(_MAX_MOVES):
            moment = self._moment
            if moment.saga.is_finished and not moment.waiting:
                check_end(moment)
                return self
            if moment.waiting:
                self._move_to(_answered(moment, moment.waiting[0], Outcome.DONE))
            elif (awaited := self._awaited_signal(people)) is not None:
                self._move_to(moment.signalled(*awaited))
            elif moment.saga.timer_at is not None:
                self._move_to(moment.with_timer_fired())
            else:
                raise Broken("it waits for a person", moment)
        raise Broken("it does not end", self._moment)

    def _reply(self, step: str, outcome: Outcome, fields: Mapping[str, Any] | None = None) -> Conversation:
        moment = self._moment
        sent = next((each for each in reversed(moment.waiting) if each.label == step), None)
        if sent is None:
            raise Broken(f"it has not sent {step}; it waits for {', '.join(self.pending) or 'nothing'}", moment)
        if fields:
            moment = moment.with_fields(step, fields)
        return self._move_to(_answered(moment, sent, outcome))

    def _awaited_signal(self, people: tuple[str, ...]) -> tuple[str, str] | None:
        saga = self._moment.saga
        for pending in saga.pending:
            if pending.people is not None:
                actors = {each.actor for each in saga.signals if each.step == pending.step}
                for actor in people:
                    if actor not in actors:
                        return actor, pending.people.signal
        return None

    def _move_to(self, moment: Moment) -> Conversation:
        check_state(moment)
        self._moment = moment
        return self


def _answered(moment: Moment, sent: Sent, outcome: Outcome) -> Moment:
    return moment.delivered(sent, outcome).received(sent.command_id)
