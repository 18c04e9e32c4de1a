"""How a saga waits for people: whom it wants to hear, what it makes of what one of them says.

Pure, like the engine, which goes on once enough of them have said it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from services.saga.core.definition import Await, Definition
from services.saga.core.pending_command import People, Question
from services.saga.core.state import Saga, Signal
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import SagaSignalled, SagaWaiting, StartSaga
from shared.contracts.yubikey.prompts import PromptRaised
from shared.decider import AlreadyDone, Rejection

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
    asked = Question(step.name, None, 1, cause, at + step.within, people=people, patient=True)
    return replace(saga.announcing(waiting, cause), questions=(*saga.questions, asked))


def wanted(saga: Saga[R], said: Signalled) -> Question | None:
    """What waits for that to be said, of that hash before of another."""
    waiting = [each for each in saga.questions if each.people is not None and each.people.signal == said.signal]
    of_that = (each for each in waiting if each.people and each.people.message_sha256 == said.message_sha256)
    return next(of_that, waiting[0] if waiting else None)


def answer_to(saga: Saga[R], said: Signalled) -> Rejection | AlreadyDone | None:
    """What a person is answered whose word does not count; None: it counts, or it did when it was first heard."""
    if any(kept.command_id == said.command_id for kept in saga.signals):
        return None
    asked = wanted(saga, said)
    if asked is None or asked.people is None:
        word = (said.signal, said.actor, said.message_sha256)
        if any((kept.signal, kept.actor, kept.message_sha256) == word for kept in saga.signals):
            return AlreadyDone()
        others = " and ".join(repr(each.people.signal) for each in saga.questions if each.people)
        waits_for = f"it waits for {others or 'nobody'}"
        return Rejection(
            RejectionCode.CONFLICT, f"no signal {said.signal!r} is wanted: it is {saga.phase} and {waits_for}"
        )
    if said.message_sha256 != (digest := asked.people.message_sha256):
        right = f"must be {digest}, of what waits to be judged" if digest else "must be left out: nothing has a hash"
        return Rejection(RejectionCode.INVALID, f"message_sha256 {right}", {"message_sha256": digest})
    if any((kept.step, kept.actor.casefold()) == (asked.step, said.actor.casefold()) for kept in saga.signals):
        return AlreadyDone()
    return None


def hear(saga: Saga[R], asked: Question, said: Signalled) -> Saga[R]:
    """The saga with one person's word more, announced."""
    assert asked.people is not None
    kept = Signal(asked.step, said.signal, said.actor, said.message_sha256, said.command_id, said.at)
    saga = replace(saga, signals=(*saga.signals, kept), changed_at=said.at)
    signalled = SagaSignalled(
        **saga.heading,
        step=asked.step,
        signal=said.signal,
        actor=said.actor,
        heard=heard(saga, asked),
        needed=asked.people.needed,
        comment=said.comment,
    )
    return saga.announcing(signalled, said.command_id)


def with_patience(definition: Definition[R], saga: Saga[R], prompt: PromptRaised) -> Saga[R]:
    """The service that was asked waits for a person in its turn: so does the saga, and then as long as for any answer.

    Its own end moves as far as the question's does, so that what people take is not taken from the steps after.
    """
    asked = next((each for each in saga.questions if str(each.command_id) == prompt.command_id), None)
    if asked is None:
        return saga
    step = definition.step(asked.step)
    within = step.within if asked.part is None else step.undo[asked.part].within
    deadline = max(asked.deadline, prompt.deadline + within)
    longer = deadline - asked.deadline
    if not longer:
        return saga
    saga = saga.with_question(asked, replace(asked, deadline=deadline))
    return replace(saga, deadline=saga.deadline + longer)


def heard(saga: Saga[R], asked: Question) -> int:
    """How many have said by now what is waited for."""
    return sum(kept.step == asked.step for kept in saga.signals)
