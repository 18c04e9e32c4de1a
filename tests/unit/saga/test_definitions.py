"""Rows of a definition: parallel branches, a step for each item, child sagas, sleeps, a pivot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.saga.core import machine
from services.saga.core.definition import Await, Definition, Each, Parallel, Sleep, Step, Undo, child
from services.saga.core.inputs import TimerFired
from services.saga.core.state import Phase
from shared.contracts.key import commands as keys
from shared.contracts.key import events as kept
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.maintenance import KeyExpiryCompleted, StartKeyExpiry
from shared.contracts.saga.provisioning import CertificateProvisioningCompleted, KeyOrigin
from shared.messages.ids import derive_id
from tests.support.saga_simulation import START, World
from tests.unit.saga.test_any_order import ACTIONS, SAGA_ID, check_the_end, provisioning, step
from tests.unit.saga.test_machine import sent_commands

REQUEST = StartKeyExpiry(saga_id=SAGA_ID, key_id=SAGA_ID)
MONTH = timedelta(days=31)


def key(name: str) -> Step[Any]:
    """A step that makes a key of that name, and revokes it when it is undone."""

    def make(saga):
        return keys.GenerateKey(key_id=saga.id_of(name), algorithm=Algorithm.EC_P256)

    def revoke(saga):
        return keys.RevokeKey(key_id=saga.id_of(name), reason="undone", void_if_absent=True)

    def destroy(saga):
        return keys.DestroyKey(key_id=saga.id_of(name))

    return Step(
        make, kept.KeyGenerated, name=name, undo=(Undo(revoke, kept.KeyRevoked), Undo(destroy, kept.KeyDestroyed))
    )


def make_key(saga, item):
    return keys.GenerateKey(key_id=saga.id_of(item), algorithm=Algorithm.EC_P256)


def revoke_key(saga, item):
    return keys.RevokeKey(key_id=saga.id_of(item), reason="undone", void_if_absent=True)


def destroy_key(saga, item):
    return keys.DestroyKey(key_id=saga.id_of(item))


def provision(saga):
    request = provisioning(KeyOrigin.ON_DEVICE)
    return request.model_copy(update={"saga_id": saga.id_of("provisioning")})


EACH = Each(
    Step(make_key, kept.KeyGenerated, undo=(Undo(revoke_key, kept.KeyRevoked), Undo(destroy_key, kept.KeyDestroyed))),
    lambda _: ("9a", "9c", "9d"),
)


def saga_of(*steps: Any, **more: Any) -> Definition[StartKeyExpiry]:
    def completed(saga):
        return KeyExpiryCompleted(**saga.heading, key_id=saga.request.key_id)

    return Definition("key-expiry", StartKeyExpiry, steps, completed=completed, **more)


def world_of(*steps: Any, broken: frozenset[str] = frozenset(), **more: Any) -> World:
    return World.begin(saga_of(*steps, **more), REQUEST, broken)


def pending(world: World) -> set[str]:
    return {question.label for question in world.saga.pending}


def answer(world: World, name: str) -> None:
    """Have the step of that name answered by its service."""
    question = next(each for each in world.saga.pending if each.label == name)
    sent = next(sent for sent in world.commands if sent.command_id == question.command_id)
    world.deliver(sent)
    world.receive(world.answers[sent.command_id])


def test_branches_go_on_side_by_side_and_what_follows_waits_for_all():
    world = world_of(key("a"), Parallel((key("b"), key("c")), key("d")), key("e"))
    assert pending(world) == {"a"}

    answer(world, "a")
    assert pending(world) == {"b", "d"}
    answer(world, "d")
    assert pending(world) == {"b"}
    answer(world, "b")
    assert pending(world) == {"c"}
    answer(world, "c")
    assert pending(world) == {"e"}
    answer(world, "e")
    assert world.saga.phase is Phase.COMPLETED


def test_a_branch_that_fails_undoes_all_branches_newest_first_also_what_is_under_way():
    world = world_of(Parallel((key("a"), key("b")), key("c"), key("d")))
    answer(world, "c")
    answer(world, "a")
    world.broken = frozenset({"GenerateKey"})
    answer(world, "b")
    world.broken = frozenset()
    world.settle()

    assert world.saga.phase is Phase.COMPENSATED
    assert world.saga.undone == ("d", "a", "c")  # d was asked and had not answered
    assert not world.existing_keys()


def test_one_step_is_asked_for_each_item_and_undone_for_each():
    world = world_of(EACH, key("last"))
    assert pending(world) == {"make-key-9a", "make-key-9c", "make-key-9d"}
    for item in ("9d", "9a", "9c"):
        answer(world, f"make-key-{item}")
    world.broken = frozenset({"GenerateKey"})
    answer(world, "last")
    world.broken = frozenset()
    world.settle()

    assert world.saga.undone == ("make-key-9c", "make-key-9a", "make-key-9d")
    assert not world.existing_keys()


def test_without_items_or_branches_it_goes_on():
    world = world_of(Each(EACH.step, lambda _: ()), Parallel(), key("a"))

    assert pending(world) == {"a"}


def test_a_saga_sleeps_for_months_and_its_deadline_stands_still():
    world = world_of(key("a"), Sleep("overlap", lambda _: MONTH), key("b"))
    answer(world, "a")
    began = world.now
    assert pending(world) == {"overlap"}

    world.pass_time()  # the timer of the step before
    assert world.saga.timer_at == began + MONTH
    world.receive(TimerFired(derive_id(START, "early"), began + MONTH / 2))
    assert pending(world) == {"overlap"}
    world.pass_time()
    assert pending(world) == {"b"}
    assert world.saga.deadline >= began + MONTH
    answer(world, "b")
    assert world.saga.phase is Phase.COMPLETED
    assert [event.step for event in world.announced if hasattr(event, "step")] == ["a", "overlap", "b"]


def test_a_child_is_begun_and_waited_for_and_withdrawn_when_its_parent_fails():
    world = world_of(child(provision, CertificateProvisioningCompleted), key("a"))
    assert sent_commands(world) == ["StartCertificateProvisioning"]
    assert world.saga.expires_at is None  # the child has deadlines of its own
    answer(world, "provision")
    world.broken = frozenset({"GenerateKey"})
    answer(world, "a")
    world.settle()

    assert sent_commands(world)[-1] == "WithdrawSaga"
    assert world.commands[-1].command.saga_id == world.commands[0].command.saga_id
    assert (world.saga.phase, world.saga.undone) == (Phase.COMPENSATED, ("provision",))


def test_a_child_that_could_not_be_undone_is_left_over_of_its_parent():
    world = world_of(key("a"), child(provision, CertificateProvisioningCompleted))
    answer(world, "a")
    world.toys.children = "failed"
    answer(world, "provision")
    world.settle()

    assert world.saga.phase is Phase.FAILED
    assert [left.step for left in world.saga.left_over] == ["provision"]
    assert not world.existing_keys()


def test_after_a_pivot_there_is_only_forward():
    pivot = key("a")
    world = world_of(Step(pivot.command, pivot.done, name="a", undo=pivot.undo, pivot=True), key("b"), key("c"))
    answer(world, "a")
    world.cancel()
    assert world.saga.phase is Phase.RUNNING

    world.broken = frozenset({"GenerateKey"})
    answer(world, "b")
    assert world.announced[-1].step == "b"
    assert "broken" in world.announced[-1].reason
    assert (world.saga.phase, world.saga.due_at, world.saga.timer_at) == (Phase.RUNNING, None, None)


def test_what_is_not_answered_after_a_pivot_is_asked_again_and_then_waits_for_a_person():
    world = world_of(key("a"), forward_only=True)
    for _ in range(6):
        world.pass_time()

    assert sent_commands(world) == ["GenerateKey"] * 3
    assert len({sent.command_id for sent in world.commands}) == 3
    assert world.saga.pending[0].stuck is not None
    assert world.saga.phase is Phase.RUNNING


SHAPES = {
    "branches": (key("a"), Parallel((key("b"), key("c")), key("d")), key("e")),
    "items": (EACH, key("last")),
    "nested": (Parallel((key("a"), Parallel(key("b"), (key("c"), EACH))), (key("d"), key("e"))),),
    "sleep": (key("a"), Parallel(Sleep("nap", lambda _: MONTH), key("b")), key("c")),
    "people": (
        key("a"),
        Parallel(Await("approval", "approve", needed=lambda _: 2, about=lambda _: "it"), (key("b"), key("c"))),
        key("d"),
    ),
    "child": (key("a"), child(provision, CertificateProvisioningCompleted), key("b")),
}
each_shape = pytest.mark.parametrize("which", SHAPES)


@each_shape
def test_left_alone_every_shape_completes(which):
    world = world_of(*SHAPES[which])
    world.settle()

    assert world.saga.phase is Phase.COMPLETED


@each_shape
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_order_any_duplicate_any_timeout_any_crash(which, data):
    world = world_of(*SHAPES[which])
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=60)):
        step(world, action, data)
    world.settle()

    check_the_end(world)


@each_shape
def test_a_crash_after_every_message_changes_nothing(which):
    straight, crashing = world_of(*SHAPES[which]), world_of(*SHAPES[which])
    straight.settle()
    hear = crashing.receive

    def hear_and_crash(message):
        hear(message)
        crashing.crash()

    crashing.receive = hear_and_crash
    crashing.settle()

    assert crashing.announced == straight.announced
    assert crashing.commands == straight.commands
    assert machine.advance(crashing.definition, crashing.saga, crashing.events[0]) is crashing.saga
