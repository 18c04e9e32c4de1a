"""How a saga waits for people: whom it wants to hear, what it makes of what one of them says.

Pure, like the engine, which goes on once enough of them have said it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from services.saga.definition import Await, Definition
from services.saga.state import People, Question, Saga, Signal
from shared.contracts.command import RefusalCode
from shared.contracts.prompt import PromptRaised
from shared.contracts.saga import SagaSignalled, SagaWaiting, StartSaga
from shared.decider import Refused, Stands

R = TypeVar("R", bound=StartSaga)


@dataclass(frozen=True, slots=True)
class Signalled:
    """A person says something to the saga."""

    command_id: UUID
    signal: str
    actor: str
    message_sha256: str | None
    comment: str | None
    at: datetime


def wait(saga: Saga[R], step: Await[R], cause: UUID, at: datetime) -> Saga[R]:
    """Ask people, by an announcement, and wait for what they say."""
    needed, message_sha256 = step.needed(saga), step.of(saga) if step.of else None
    waiting = SagaWaiting(
        **saga.heading,
        step=step.name,
        signal=step.signal,
        needed=needed,
        message_sha256=message_sha256,
        about=step.about(saga),
    )
    people = People(step.signal, needed, message_sha256, at)
    asked = Question(step.name, None, 1, cause, at + step.within, people=people)
    return replace(saga.announcing(waiting, cause), question=asked, changed_at=at)


def answer_to(saga: Saga[R], said: Signalled) -> Refused | Stands | None:
    """What a person is answered whose word does not count; None: it counts, or it did when it was first heard."""
    if any(kept.command_id == said.command_id for kept in saga.signals):
        return None
    asked = saga.question
    if asked is None or asked.people is None or asked.people.signal != said.signal:
        word = (said.signal, said.actor, said.message_sha256)
        if any((kept.signal, kept.actor, kept.message_sha256) == word for kept in saga.signals):
            return Stands()
        waits_for = f"it waits for {asked.people.signal!r}" if asked and asked.people else "it waits for nobody"
        return Refused(RefusalCode.CONFLICT, f"no signal {said.signal!r} is wanted: it is {saga.phase} and {waits_for}")
    if said.message_sha256 != (wanted := asked.people.message_sha256):
        right = f"must be {wanted}, of what waits to be judged" if wanted else "must be left out: nothing has a hash"
        return Refused(RefusalCode.INVALID, f"message_sha256 {right}", {"message_sha256": wanted})
    if any((kept.step, kept.actor.casefold()) == (asked.step, said.actor.casefold()) for kept in saga.signals):
        return Stands()
    return None


def hear(saga: Saga[R], said: Signalled) -> Saga[R]:
    """The saga with one person's word more, announced."""
    asked = saga.question
    assert asked is not None
    assert asked.people is not None
    kept = Signal(asked.step, said.signal, said.actor, said.message_sha256, said.command_id, said.at)
    saga = replace(saga, signals=(*saga.signals, kept), changed_at=said.at)
    signalled = SagaSignalled(
        **saga.heading,
        step=asked.step,
        signal=said.signal,
        actor=said.actor,
        heard=heard(saga),
        needed=asked.people.needed,
        comment=said.comment,
    )
    return saga.announcing(signalled, said.command_id)


def with_patience(definition: Definition[R], saga: Saga[R], asked: Question, prompt: PromptRaised) -> Saga[R]:
    """The service that was asked waits for a person in its turn: so does the saga, and then as long as for any answer.

    Its own end moves as far as the question's does, so that what people take is not taken from the steps after.
    """
    if prompt.command_id != str(asked.command_id):
        return saga
    step = definition.step(asked.step)
    within = step.within if asked.part is None else step.undo[asked.part].within
    deadline = max(asked.deadline, prompt.deadline + within)
    longer = deadline - asked.deadline
    if not longer:
        return saga
    return replace(saga, question=replace(asked, deadline=deadline), deadline=saga.deadline + longer)


def heard(saga: Saga[R]) -> int:
    """How many have said by now what is waited for."""
    return sum(kept.step == saga.question.step for kept in saga.signals) if saga.question else 0
