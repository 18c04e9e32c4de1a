"""given / when / then: the style of every decider test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any
from uuid import UUID

from shared.contracts.base import Event
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
COMMAND_ID = UUID("0192f0c1-0000-7000-8000-000000000001")


@dataclass(frozen=True)
class Scenario:
    """``Scenario(KEY).given(event, …).when(command or outcome).then(event)``."""

    decider: Decider[Any, Any, Any, Any, Any]
    history: tuple[Event, ...] = ()
    answer: Any = None

    def given(self, *history: Event) -> Scenario:
        return replace(self, history=history)

    def when(self, message: Any, at: datetime = NOON, command_id: UUID = COMMAND_ID) -> Scenario:
        state = reduce(self.decider.evolve, self.history, self.decider.initial)
        identity = getattr(message, "identity", "")
        return replace(
            self,
            answer=self.decider.decide(state, message, Context(command_id=command_id, aggregate_id=identity, at=at)),
        )

    def then(self, event: Event) -> None:
        assert self.answer == event

    def then_performs(self, effect: object) -> None:
        assert self.answer == Perform(effect)

    def then_rejects(self, code: RejectionCode, *words: str) -> None:
        assert isinstance(self.answer, Rejection), self.answer
        assert self.answer.code == code
        for word in words:
            assert word in self.answer.message

    def then_already_done(self) -> None:
        assert self.answer == AlreadyDone()
