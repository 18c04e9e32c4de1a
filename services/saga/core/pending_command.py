"""What a saga waits for: the answer of a service, people, or its time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.saga.core.steps import Retry
from shared.messages.ids import derive_id


@dataclass(frozen=True, slots=True)
class People:
    """Who is waited for: *needed* of them, to say *signal* (of that hash), since when."""

    signal: str
    needed: int
    message_sha256: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """What the saga waits to be answered. *part* is None for the step itself, else which of its undos.

    While *send_at* is set it is not asked yet: it was refused for a reason that may pass, and is asked again then.
    With *people*, no service is asked: they are waited for. One that is *asleep* waits for its deadline only. While a
    *patient* one is pending, the saga's own deadline stands still. One that is *stuck* waits for an operator.
    """

    step: str
    part: int | None
    attempt: int
    cause: UUID
    deadline: datetime
    send_at: datetime | None = None
    people: People | None = None
    asleep: bool = False
    patient: bool = False
    stuck: str | None = None

    @property
    def label(self) -> str:
        """How messages name it (`CIM-Saga-Step`)."""
        return self.step if self.part is None else f"undo.{self.step}"

    @property
    def command_id(self) -> UUID:
        """Derived, so that asking again after a crash is asking the same."""
        return derive_id(self.cause, f"{self.label}/{self.part or 0}/{self.attempt}")

    @property
    def due(self) -> datetime | None:
        """When it must be looked at; None: an operator is waited for."""
        return None if self.stuck is not None else self.send_at or self.deadline

    @property
    def asked(self) -> bool:
        """Whether a service has it, or is to be given it."""
        return self.send_at is None and self.people is None and not self.asleep and self.stuck is None

    def later(self, by: timedelta) -> Question:
        """The same, with everything that is due moved."""
        send_at = self.send_at + by if self.send_at else None
        return replace(self, deadline=self.deadline + by, send_at=send_at)

    def once_more(self, cause: UUID, at: datetime, within: timedelta) -> Question:
        """Asked now, as if for the first time, under an id of its own."""
        return replace(self, cause=cause, attempt=1, send_at=None, stuck=None, deadline=at + within)

    def again(self, retry: Retry, cause: UUID, at: datetime, within: timedelta) -> Question | None:
        """The same question, later; None when it was asked often enough."""
        if self.attempt >= retry.attempts:
            return None
        spread = 0.8 + 0.4 * (cause.int & 0xFFFF) / 0xFFFF  # jitter that is the same however often it is computed
        send_at = at + retry.before(self.attempt) * spread
        return replace(self, attempt=self.attempt + 1, cause=cause, send_at=send_at, deadline=send_at + within)
