"""A conversation with a saga: what it asks, what it is answered, how much time goes by, what it says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.saga.core.definition import AnyDefinition
from services.saga.core.inputs import OperatorCommand
from services.saga.core.state import Saga
from shared.contracts.base import Command, Event
from shared.contracts.saga.protocol import CancelSaga, StartSaga
from tests.kit.checking import Broken, at_any_moment, at_the_end
from tests.kit.played import Outcome, Played, Said, Sent

_ENOUGH = 10_000


class Conversation:
    """`Conversation(definition, request)` has asked its first questions; what is not said otherwise goes well."""

    def __init__(self, definition: AnyDefinition, request: StartSaga, *, answers: Said | None = None) -> None:
        self._played = Played.begin(definition, request, answers)

    # -- what is seen ------------------------------------------------------------------------------------------------

    @property
    def asking(self) -> list[str]:
        """What it waits for now: steps, `undo.<step>`, people, sleep."""
        return [question.label for question in self._played.saga.pending]

    @property
    def asked(self) -> list[str]:
        """All that it has asked any service for, in order; an undo of several parts is named once a part."""
        return [sent.label for sent in self._played.sent]

    @property
    def commands(self) -> list[Command]:
        return [sent.command for sent in self._played.sent]

    @property
    def told(self) -> list[Event]:
        return list(self._played.told)

    @property
    def phase(self) -> str:
        return str(self._played.saga.phase)

    @property
    def left_over(self) -> list[str]:
        return [left.step for left in self._played.saga.left_over]

    @property
    def stuck(self) -> list[str]:
        """What only an operator can have go on."""
        return [question.label for question in self._played.saga.pending if question.stuck is not None]

    @property
    def saga(self) -> Saga[Any]:
        """Its state, as it is stored."""
        return self._played.saga

    @property
    def story(self) -> str:
        return "\n".join(self._played.story)

    # -- what is said ------------------------------------------------------------------------------------------------

    def answer(self, step: str, **fields: Any) -> Conversation:
        """It is done; *fields*: what its event says otherwise than the golden sample."""
        return self._to(step, Outcome.DONE, fields)

    def refuse(self, step: str, *, for_now: bool = False) -> Conversation:
        return self._to(step, Outcome.REFUSED_FOR_NOW if for_now else Outcome.REFUSED)

    def fail(self, step: str) -> Conversation:
        """By the event that the definition names for it."""
        return self._to(step, Outcome.FAILED)

    def stands(self, step: str) -> Conversation:
        """It is there already."""
        return self._to(step, Outcome.STANDS)

    def say(self, actor: str, signal: str = "approve") -> Conversation:
        return self._now(self._played.saying(actor, signal))

    def cancel(self) -> Conversation:
        return self.order(CancelSaga)

    def order(self, command_type: type[OperatorCommand]) -> Conversation:
        """An operator sends a command of that type."""
        return self._now(self._played.ordered(command_type(saga_id=self._played.saga.saga_id)))

    def wait(self, passing: timedelta) -> Conversation:
        """Time goes by on a clock of its own, and stops where the saga asks somebody something."""
        return self._now(self._played.after(passing))

    def go_on(self, *people: str) -> Conversation:
        """All goes well from here on: everybody answers, *people* say what they are waited for, time goes by."""
        for _ in range(_ENOUGH):
            played = self._played
            if played.saga.is_finished and not played.waiting:
                at_the_end(played)
                return self
            if played.waiting:
                self._now(_answered(played, played.waiting[0], Outcome.DONE))
            elif (wanted := self._wanted(people)) is not None:
                self._now(played.saying(*wanted))
            elif played.saga.timer_at is not None:
                self._now(played.later())
            else:
                raise Broken("it waits for a person", played)
        raise Broken("it does not end", self._played)

    # -- how ---------------------------------------------------------------------------------------------------------

    def _to(self, step: str, outcome: Outcome, fields: Mapping[str, Any] | None = None) -> Conversation:
        played = self._played
        sent = next((each for each in reversed(played.waiting) if each.label == step), None)
        if sent is None:
            raise Broken(f"it does not ask {step}; it waits for {', '.join(self.asking) or 'nothing'}", played)
        if fields:
            played = played.with_said(step, fields)
        return self._now(_answered(played, sent, outcome))

    def _wanted(self, people: tuple[str, ...]) -> tuple[str, str] | None:
        saga = self._played.saga
        for pending in saga.pending:
            if pending.people is not None:
                heard = {said.actor for said in saga.signals if said.step == pending.step}
                for actor in people:
                    if actor not in heard:
                        return actor, pending.people.signal
        return None

    def _now(self, played: Played) -> Conversation:
        at_any_moment(played)
        self._played = played
        return self


def _answered(played: Played, sent: Sent, outcome: Outcome) -> Played:
    return played.delivered(sent, outcome).hearing(sent.command_id)
