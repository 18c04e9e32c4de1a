"""Prompts: a step that waits for a person's touch is not undone before the prompt expires."""

from datetime import timedelta

import pytest

from services.saga.core.inputs import EventReceived
from services.saga.core.state import Phase
from shared.contracts.yubikey.prompts import PromptKind, PromptRaised
from shared.contracts.yubikey.slots import Slot
from shared.messages.ids import derive_id
from tests.unit.saga.test_any_order import begun
from tests.unit.saga.test_machine import answer_next, sent_commands

PATIENCE = timedelta(minutes=10)


@pytest.fixture(name="world")
def _world():
    """The slot's key is asked for."""
    world = begun("on-device")
    answer_next(world, 1)
    return world


def prompt(world, command_id=None):
    sent = world.commands[-1]
    raised = PromptRaised(
        prompt_id=str(derive_id(sent.command_id, "prompt")),
        serial="42000001",
        slot=Slot.AUTHENTICATION,
        wanted=PromptKind.TOUCH,
        command_id=str(command_id or sent.command_id),
        command_type="GenerateSlotKey",
        deadline=world.now + PATIENCE,
    )
    return EventReceived(
        event_id=derive_id(sent.command_id, "raised"),
        command_id=derive_id(sent.command_id, "prompt"),
        event=raised,
        at=world.now,
    )


def test_its_deadline_and_the_saga_s_move_behind_the_person_s(world):
    step, before = world.saga.pending[0], world.saga

    world.receive(prompt(world))

    assert world.saga.pending[0].deadline == world.now + PATIENCE + timedelta(seconds=30)
    assert world.saga.deadline - before.deadline == world.saga.pending[0].deadline - step.deadline
    assert world.saga.phase is Phase.RUNNING


def test_heard_twice_it_changes_nothing_more(world):
    world.receive(prompt(world))
    once = world.saga

    world.receive(prompt(world))

    assert world.saga is once


def test_a_prompt_of_another_command_changes_nothing(world):
    before = world.saga

    world.receive(prompt(world, derive_id(world.commands[-1].command_id, "another")))

    assert world.saga is before


def test_the_step_is_answered_as_ever(world):
    world.receive(prompt(world))
    answer_next(world, 7)

    assert sent_commands(world)[-1] == "VerifySlot"
    assert world.saga.phase is Phase.COMPLETED


def test_once_the_person_s_time_is_over_it_is_undone(world):
    world.receive(prompt(world))
    world.pass_time()  # the timer of before fires: too early
    assert world.saga.phase is Phase.RUNNING
    world.pass_time()

    assert world.saga.phase is Phase.COMPENSATING
