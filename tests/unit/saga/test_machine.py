"""State machine: rejected, unanswered and cancelled steps, and outcomes that do not count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.saga.core import machine
from services.saga.core.inputs import EventReceived, TimerFired
from services.saga.core.state import Phase
from services.saga.core.steps import flatten
from services.saga.definitions import DEFINITIONS
from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from shared.contracts.rejection import CommandRejected, RejectionCode
from shared.contracts.saga.provisioning import KeyOrigin
from shared.messages.ids import derive_id
from tests.support.saga_simulation import START, World, reply_fields
from tests.unit.saga.test_any_order import begun, provisioning


@pytest.fixture(name="world")
def _world() -> World:
    """On the device nothing is done yet; the certificate would be issued."""
    world = begun("on-device")
    answer_next(world, 1)
    return world


def sent_commands(world: World) -> list[str]:
    return [type(sent.command).__name__ for sent in world.commands]


def answer_next(world: World, steps: int) -> None:
    for _ in range(steps):
        world.deliver(world.commands[-1])
        world.receive(world.events[-1])


def reject_last(world: World, code: RejectionCode = RejectionCode.UNAVAILABLE, *, retryable: bool = True) -> None:
    sent = world.commands[-1]
    rejected = CommandRejected(**reply_fields(sent), code=code, message="not now", retryable=retryable)
    world.receive(
        EventReceived(
            event_id=derive_id(sent.command_id, "rejected"), command_id=sent.command_id, event=rejected, at=world.now
        )
    )


def test_each_step_is_asked_when_the_one_before_it_is_answered(world):
    answer_next(world, 7)

    assert sent_commands(world) == [
        "CheckIssuance",
        "GenerateSlotKey",
        "AttestSlot",
        "CreateCertificate",
        "SignWithKey",
        "SignCertificate",
        "ImportSlotCertificate",
        "VerifySlot",
    ]
    assert world.saga.phase is Phase.COMPLETED


def test_a_retryable_refusal_is_asked_again_later_under_another_id(world):
    reject_last(world)
    assert not list(machine.pending_commands(world.definition, world.saga))
    world.pass_time()

    first, second = world.commands[1:]
    assert first.command == second.command
    assert first.command_id != second.command_id
    assert world.saga.pending[0].attempt == 2


def test_delays_grow_and_end_in_undoing(world):
    delays = []
    for _ in range(2):
        reject_last(world)
        delays.append(world.saga.pending[0].send_at - world.now)
        world.pass_time()
    reject_last(world)

    assert delays[0] < delays[1]
    assert world.saga.phase is Phase.COMPENSATED
    assert world.saga.reason == "unavailable: not now"


def test_what_was_refused_for_good_is_not_asked_again(world):
    reject_last(world, RejectionCode.INVALID, retryable=False)

    assert world.saga.phase is Phase.COMPENSATED
    assert world.announcement_types() == ["SagaStarted", "SagaStepFinished", "SagaCompensating", "SagaCompensated"]


def test_a_step_that_does_not_answer_is_undone_too(world):
    world.pass_time()

    assert sent_commands(world)[1:] == ["GenerateSlotKey", "ClearSlot"]
    assert world.saga.phase is Phase.COMPENSATING


def test_what_comes_after_its_undo_is_refused(world):
    world.pass_time()
    generate, clear = world.commands[1:]
    world.deliver(clear)
    world.deliver(generate)

    assert isinstance(world.answers[generate.command_id].event, CommandRejected)
    assert not world.slots


def test_undoing_goes_newest_first_and_touches_only_what_was_done(world):
    answer_next(world, 3)
    reject_last(world, RejectionCode.INTERNAL, retryable=False)
    world.settle()

    assert sent_commands(world)[-2:] == ["RevokeCertificate", "ClearSlot"]
    assert world.saga.undone == ("create-certificate", "generate-slot-key")


def test_an_undo_that_cannot_be_made_is_left_over_and_does_not_stop_the_others(world):
    answer_next(world, 3)
    reject_last(world, RejectionCode.INTERNAL, retryable=False)
    for _ in range(3):
        reject_last(world)
        world.pass_time()
    world.settle()

    assert world.saga.phase is Phase.FAILED
    assert world.saga.undone == ("generate-slot-key",)
    assert [left.step for left in world.saga.left_over] == ["create-certificate"]
    assert world.announcement_types()[-1] == "SagaFailed"


def test_a_stranger_a_stale_answer_and_a_duplicate_change_nothing(world):
    answer_next(world, 2)
    before = world.saga
    for heard in world.events:
        world.receive(heard)
    world.receive(EventReceived(event_id=START, command_id=START, event=world.events[0].event, at=world.now))

    assert world.saga == before


def test_an_answer_after_the_end_changes_nothing(world):
    world.pass_time()
    world.settle()
    end = world.saga
    for heard in world.events:
        world.receive(heard)

    assert world.saga is end


def test_cancelling_undoes_what_may_have_been_done(world):
    answer_next(world, 1)
    world.cancel()
    world.settle()

    assert world.saga.phase is Phase.COMPENSATED
    assert not world.slots
    compensating = next(event for event in world.announced if type(event).__name__ == "SagaCompensating")
    assert (compensating.step, compensating.code, compensating.reason) == (None, "cancelled", "enough")


def test_a_saga_that_is_undoing_cannot_be_cancelled(world):
    world.pass_time()
    before = world.saga
    world.cancel()

    assert world.saga == before


def test_a_saga_has_an_end_of_its_own_however_patient_its_steps_are(world):
    late = world.saga.deadline + timedelta(seconds=1)
    world.now = late
    world.receive(TimerFired(derive_id(START, "late"), late))

    assert world.saga.phase is Phase.COMPENSATING
    assert "did not finish within 300 s" in world.saga.reason


def test_a_timer_that_fires_too_early_only_arms_the_next(world):
    armed = world.saga.timer_at
    answer_next(world, 1)
    assert world.saga.timer_at == armed  # it stands early enough for the second step too
    world.receive(TimerFired(derive_id(START, "early"), armed - timedelta(seconds=1)))

    assert world.saga.phase is Phase.RUNNING
    assert world.saga.timer_at is not None


def test_what_would_not_be_issued_costs_nothing_that_is_in_the_slot():
    request = provisioning(KeyOrigin.ON_DEVICE).model_copy(update={"replace": True, "validity_days": 5000})
    world = World.begin(CERTIFICATE_PROVISIONING, request)
    world.slots["9a"] = "somebody's"
    world.settle()

    assert sent_commands(world) == ["CheckIssuance"]
    assert world.saga.phase is Phase.COMPENSATED
    assert world.slots == {"9a": "somebody's"}


def test_what_replace_has_overwritten_is_said_to_be_lost():
    request = provisioning(KeyOrigin.ON_DEVICE).model_copy(update={"replace": True})
    world = World.begin(CERTIFICATE_PROVISIONING, request, frozenset({"AttestSlot"}))
    world.slots["9a"] = "somebody's"
    world.settle()

    assert world.saga.phase is Phase.FAILED
    assert "overwritten" in world.saga.left_over[0].reason
    assert not world.slots


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.saga_type)
def test_step_names_are_unique_and_fit_into_a_subject(definition):
    names = [step.name for step in flatten(definition.steps)]

    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.parametrize("which", ["bootstrap", "on-device", "imported"])
def test_an_undo_rests_on_no_answer(which):
    world = begun(which)

    for step in world.definition.steps:
        for undo in step.undo:
            assert undo.command(world.saga)


@pytest.mark.parametrize(
    "forged", [{"command_type": "RevokeKey"}, {"aggregate_id": "42000002"}, {"aggregate_id": None}]
)
def test_a_rejection_of_another_command_under_the_same_id_is_a_strangers(world, forged):
    sent = world.commands[-1]
    rejected = CommandRejected(**{**reply_fields(sent), **forged}, code=RejectionCode.NOT_FOUND, message="no")
    before = world.saga
    world.receive(
        EventReceived(
            event_id=derive_id(sent.command_id, "forged"), command_id=sent.command_id, event=rejected, at=world.now
        )
    )

    assert world.saga == before


def test_an_event_of_another_aggregate_under_the_same_command_id_is_a_strangers(world):
    sent = world.commands[-1]
    world.deliver(sent)
    elsewhere = world.events[-1].event.model_copy(update={"serial": "42000002"})
    before = world.saga
    world.receive(
        EventReceived(
            event_id=derive_id(sent.command_id, "forged"), command_id=sent.command_id, event=elsewhere, at=world.now
        )
    )

    assert world.saga == before


def test_what_was_cancelled_before_anything_was_overwritten_is_compensated():
    request = provisioning(KeyOrigin.ON_DEVICE).model_copy(update={"replace": True})
    world = World.begin(CERTIFICATE_PROVISIONING, request)
    answer_next(world, 1)
    world.cancel()
    world.settle()

    assert world.saga.phase is Phase.COMPENSATED
