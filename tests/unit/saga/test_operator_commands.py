"""Operator commands, and the replies to those that cannot be applied."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.saga.core import machine
from services.saga.core.machine import reply_to_operator
from services.saga.core.state import Phase
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.protocol import CancelSaga, PauseSaga, ResolveSaga, ResumeSaga, RetrySaga, WithdrawSaga
from shared.decider import AlreadyDone, Rejection
from tests.unit.saga.test_any_order import SAGA_ID, begun, nothing_is_left
from tests.unit.saga.test_definitions import answer, key, pending, world_of
from tests.unit.saga.test_machine import answer_next, reject_last

PAUSE, RESUME, RETRY = PauseSaga(saga_id=SAGA_ID), ResumeSaga(saga_id=SAGA_ID), RetrySaga(saga_id=SAGA_ID)
CANCEL, WITHDRAW = CancelSaga(saga_id=SAGA_ID), WithdrawSaga(saga_id=SAGA_ID)
HOUR = timedelta(hours=1)


def resolve(step, outcome="undone", **answer_of_it):
    return ResolveSaga(saga_id=SAGA_ID, step=step, outcome=outcome, reason="I looked", **answer_of_it)


def answered(world, command, number=0):
    """Returns the reply to an operator command that changed nothing, or None if it was announced."""
    order = world.operate(command, number)
    return reply_to_operator(world.definition, world.saga, order)


def rejection_of(world, command):
    outcome = answered(world, command)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.code is RejectionCode.CONFLICT
    return outcome.message


@pytest.fixture(name="world")
def _world():
    return world_of(key("a"), key("b"))


@pytest.fixture(name="failed")
def _failed():
    """A saga whose first step's key could not be destroyed."""
    world = world_of(key("a"), key("b"))
    answer(world, "a")
    world.broken = frozenset({"GenerateKey", "DestroyKey"})
    world.settle()
    world.broken = frozenset()
    assert world.saga.phase is Phase.FAILED
    return world


def test_a_paused_saga_hears_and_asks_nothing_and_its_deadlines_stand_still(world):
    deadline = world.saga.deadline
    assert answered(world, PAUSE) is None
    assert (world.saga.due_at, world.saga.timer_at) == (None, None)
    assert not list(machine.pending_commands(world.definition, world.saga))

    answer(world, "a")
    assert pending(world) == set()
    world.now += HOUR
    assert answered(world, RESUME) is None
    assert pending(world) == {"b"}
    assert world.saga.deadline == deadline + HOUR
    assert world.announced[-1].paused_seconds == HOUR.total_seconds()


def test_what_was_asked_before_a_pause_has_its_time_after_it(world):
    answered(world, PAUSE)
    world.now += HOUR
    answered(world, RESUME)

    assert world.saga.pending[0].deadline == world.now + timedelta(seconds=30)
    world.settle()
    assert world.saga.phase is Phase.COMPLETED


def test_undoing_can_be_paused_too(world):
    answer(world, "a")
    world.cancel()
    answered(world, PAUSE)
    sent = world.commands[-1]
    world.deliver(sent)
    world.receive(world.answers[sent.command_id])
    before = len(world.commands)
    world.crash()
    assert len(world.commands) == before

    answered(world, RESUME)
    world.settle()
    assert world.saga.phase is Phase.COMPENSATED


def test_a_paused_saga_can_be_cancelled(world):
    answer(world, "a")
    answered(world, PAUSE)
    assert answered(world, CANCEL) is None
    world.settle()

    assert world.saga.phase is Phase.COMPENSATED
    assert nothing_is_left(world)


def test_pausing_twice_and_resuming_what_runs_stands(world):
    answered(world, PAUSE)
    assert isinstance(answered(world, PAUSE, 1), AlreadyDone)
    answered(world, RESUME)
    assert isinstance(answered(world, RESUME, 1), AlreadyDone)


def test_the_same_order_heard_again_is_obeyed_once(world):
    order = world.operate(PAUSE)
    world.operate(RESUME)
    told = len(world.announced)
    world.receive(order)

    assert len(world.announced) == told
    assert world.saga.paused_at is None
    assert reply_to_operator(world.definition, world.saga, order) is None


def test_what_waits_for_its_next_attempt_is_asked_now():
    world = begun("on-device")
    reject_last(world)
    assert world.saga.pending[0].send_at is not None
    assert answered(world, RETRY) is None

    assert world.saga.pending[0].awaits_service
    assert world.commands[-1].command == world.commands[-2].command
    world.settle()
    assert world.saga.phase is Phase.COMPLETED


def test_a_stuck_step_goes_on_when_an_operator_says_so():
    world = world_of(key("a"), key("b"), forward_only=True)
    answer(world, "a")
    world.broken = frozenset({"GenerateKey"})
    answer(world, "b")
    world.broken = frozenset()
    assert answered(world, RETRY) is None
    world.settle()

    assert world.saga.phase is Phase.COMPLETED


def test_a_person_answers_for_a_stuck_step(world):
    world = world_of(key("a"), key("b"), forward_only=True)
    answer(world, "a")
    world.broken = frozenset({"GenerateKey"})
    answer(world, "b")

    nothing = answered(world, resolve("b", "done"))
    assert (nothing.code, "KeyGenerated" in nothing.message) == (RejectionCode.INVALID, True)
    wrong = answered(world, resolve("b", "done", answer={"key_id": 7}), 1)
    assert (wrong.code, "key_id" in wrong.message) == (RejectionCode.INVALID, True)
    generated = world.saga.outcomes[0].event.model_copy(update={"key_id": world.saga.id_of("b")})
    assert answered(world, resolve("b", "done", answer=generated.model_dump(mode="json")), 2) is None
    assert world.saga.phase is Phase.COMPLETED


def test_what_was_left_over_is_undone_once_the_cause_is_gone(failed):
    assert [left.step for left in failed.saga.left_over] == ["a"]
    assert answered(failed, RETRY) is None
    failed.settle()

    assert failed.saga.phase is Phase.COMPENSATED
    assert [type(event).__name__ for event in failed.announced][-2:] == ["SagaRetried", "SagaUndone"]
    assert nothing_is_left(failed)


def test_what_still_cannot_be_undone_is_said_again(failed):
    failed.broken = frozenset({"DestroyKey"})
    answered(failed, RETRY)
    failed.settle()

    assert failed.saga.phase is Phase.FAILED
    assert type(failed.announced[-1]).__name__ == "SagaNotUndone"


def test_a_person_states_that_it_is_undone(failed):
    assert "the steps that could not be undone: a" in rejection_of(failed, resolve("b"))
    assert answered(failed, resolve("a"), 1) is None

    assert failed.saga.phase is Phase.COMPENSATED
    assert [type(event).__name__ for event in failed.announced][-2:] == ["SagaResolved", "SagaUndone"]


def test_what_is_lost_for_good_can_be_resolved_and_is_not_found_again():
    world = begun("on-device")
    world.saga = replace(world.saga, request=world.saga.request.model_copy(update={"replace": True}))
    world.slots["9a"] = "somebody's"
    answer_next(world, 3)
    reject_last(world, RejectionCode.INTERNAL, retryable=False)
    world.settle()
    assert [left.step for left in world.saga.left_over] == ["generate-slot-key"]

    assert answered(world, resolve("generate-slot-key")) is None
    assert world.saga.phase is Phase.COMPENSATED


def test_a_complete_saga_is_withdrawn(world):
    world.settle()
    assert world.saga.phase is Phase.COMPLETED
    assert "completed and cannot be cancelled" in rejection_of(world, CANCEL)
    assert answered(world, WITHDRAW) is None
    world.settle()

    assert (world.saga.phase, world.saga.undone) == (Phase.COMPENSATED, ("b", "a"))
    assert [type(event).__name__ for event in world.announced][-2:] == ["SagaWithdrawing", "SagaUndone"]
    assert nothing_is_left(world)
    assert isinstance(answered(world, WITHDRAW, 1), AlreadyDone)


def test_a_running_saga_that_is_withdrawn_is_compensated(world):
    answer(world, "a")
    assert answered(world, WITHDRAW) is None
    world.settle()

    assert [type(event).__name__ for event in world.announced][-2:] == ["SagaCompensating", "SagaCompensated"]


def test_what_has_failed_cannot_be_withdrawn_but_retried(failed):
    assert "retry or resolve" in rejection_of(failed, WITHDRAW)


def test_what_has_passed_its_pivot_can_be_neither_cancelled_nor_withdrawn():
    world = world_of(key("a"), forward_only=True)
    assert "past its pivot" in rejection_of(world, CANCEL)
    world.settle()
    assert "past its pivot" in rejection_of(world, WITHDRAW)


@pytest.mark.parametrize(("command", "problem"), [(PAUSE, "nothing to pause"), (RETRY, "no step of it waits")])
def test_what_is_over_is_left_alone(world, command, problem):
    world.settle()
    assert problem in rejection_of(world, command)
