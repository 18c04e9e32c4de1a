"""Signals: steps that wait for people, signals that count and signals that do not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.saga.core import machine
from services.saga.core.inputs import TimerFired
from services.saga.core.machine import reply_to_signal
from services.saga.core.state import Phase
from services.saga.definitions.certificate_issuance import CERTIFICATE_ISSUANCE
from services.saga.definitions.certificate_renewal import CERTIFICATE_RENEWAL
from services.saga.definitions.crl_publication import CRL_PUBLICATION
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from shared.contracts.key.commands import GenerateKey, SignWithKey
from shared.contracts.key.value_types import Algorithm, Provenance
from shared.contracts.rejection import RejectionCode
from shared.contracts.saga.certificates import PkiBootstrapCompleted
from shared.contracts.saga.maintenance import CrlPublicationCompleted
from shared.contracts.saga.protocol import SagaSignalled, SagaWaiting
from shared.contracts.yubikey.slots import PinPolicy, Slot, SlotPopulated, TouchPolicy
from shared.decider import AlreadyDone, Rejection
from shared.messages.ids import derive_id
from tests.support.saga_simulation import START, World
from tests.support.toy_services import PEM, SHA, digest
from tests.unit.saga.test_any_order import BOOTSTRAP, CRL, begun, issuance, renewal
from tests.unit.saga.test_machine import answer_next, sent_commands

IN_SLOT = SlotPopulated(
    serial="42000001",
    slot=Slot.AUTHENTICATION,
    simulated=True,
    key_id=str(START),
    algorithm=Algorithm.EC_P256,
    provenance=Provenance.ON_DEVICE,
    public_key_pem=PEM,
    fingerprint_sha256=SHA,
    attestation=None,
    pin_policy=PinPolicy.ONCE,
    touch_policy=TouchPolicy.NEVER,
    replaced=False,
)


@pytest.fixture(name="world")
def _world() -> World:
    """A certificate is created, and two people are asked to approve of it."""
    world = begun("issuance-approved")
    answer_next(world, 1)
    return world


def announced(world: World, kind):
    return [event for event in world.announced if isinstance(event, kind)]


def awaited(world: World) -> str:
    return world.saga.pending[0].people.message_sha256


def test_it_says_what_it_waits_for_and_asks_no_service(world):
    [waiting] = announced(world, SagaWaiting)

    assert (waiting.step, waiting.signal, waiting.needed) == ("approve-certificate", "approve", 2)
    assert waiting.message_sha256 == digest(f"certificate {world.saga.id_of('certificate')}".encode())
    assert "tls-server certificate for www" in waiting.about
    assert sent_commands(world) == ["CreateCertificate"]


def test_as_many_different_people_as_are_needed_let_it_go_on(world):
    world.signal("ada")
    assert sent_commands(world) == ["CreateCertificate"]
    world.signal("bob")

    assert sent_commands(world) == ["CreateCertificate", "SignWithKey"]
    assert [(said.actor, said.heard, said.needed) for said in announced(world, SagaSignalled)] == [
        ("ada", 1, 2),
        ("bob", 2, 2),
    ]


def test_what_was_approved_is_handed_to_the_signer(world):
    sha256 = awaited(world)
    said = [world.signal("ada"), world.signal("bob")]
    command = world.commands[-1].command

    assert isinstance(command, SignWithKey)
    assert [(a.actor, a.message_sha256, a.command_id) for a in command.approvals] == [
        (one.actor, sha256, str(one.command_id)) for one in said
    ]


def test_the_same_person_counts_once(world):
    world.signal("ada")
    before = world.saga
    again = world.signal("ada", number=1)

    assert world.saga == before
    assert reply_to_signal(world.saga, again) == AlreadyDone()


def test_the_same_command_heard_twice_is_no_new_word_and_no_refusal(world):
    first = world.signal("ada")
    before = world.saga
    world.receive(first)

    assert world.saga == before
    assert reply_to_signal(world.saga, first) is None


@pytest.mark.parametrize("sha256", ["1" * 64, None])
def test_an_approval_of_something_else_is_refused_with_what_is_awaited(world, sha256):
    before = world.saga
    said = world.signal("ada", sha256=sha256)
    answer = reply_to_signal(world.saga, said)

    assert world.saga == before
    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.INVALID
    assert awaited(world) in answer.message


def test_a_signal_that_is_not_waited_for_is_refused(world):
    said = world.signal("ada", name="touch")
    answer = reply_to_signal(world.saga, said)

    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.CONFLICT
    assert "waits for 'approve'" in answer.message


def test_who_comes_too_late_is_told_so(world):
    world.signal("ada")
    sha256 = awaited(world)
    world.signal("bob")
    late, again = world.signal("eve", sha256=sha256), world.signal("bob", sha256=sha256, number=1)

    assert isinstance(reply_to_signal(world.saga, late), Rejection)
    assert reply_to_signal(world.saga, again) == AlreadyDone()


def test_the_word_of_a_person_causes_one_event_which_causes_the_rest(world):
    world.signal("ada")
    said = world.signal("bob")
    signalled, finished = world.saga.announcements

    assert signalled.cause == said.command_id
    assert finished.cause == signalled.event_id
    assert world.saga.pending[0].cause == signalled.event_id


def test_the_sagas_own_deadline_stands_still_while_people_are_waited_for(world):
    deadline = world.saga.deadline
    world.now += timedelta(days=2)
    world.receive(TimerFired(derive_id(START, "looked"), world.now))
    world.signal("ada")
    world.signal("bob")

    assert world.saga.phase is Phase.RUNNING
    assert world.saga.deadline == deadline + timedelta(days=2)


def test_people_who_do_not_come_are_not_waited_for_for_ever(world):
    world.signal("ada")
    world.now += timedelta(days=7, seconds=1)
    world.receive(TimerFired(derive_id(START, "late"), world.now))

    assert world.saga.reason == "timeout: 1 of 2 sent signal 'approve' within 7 days, 0:00:00"
    world.settle()
    assert world.saga.phase is Phase.COMPENSATED
    assert not world.existing_certificates()


def test_what_waits_can_be_cancelled(world):
    world.cancel()
    world.settle()

    assert world.saga.phase is Phase.COMPENSATED
    assert sent_commands(world) == ["CreateCertificate", "RevokeCertificate"]


def test_where_nobody_is_needed_nobody_is_waited_for():
    world = World.begin(CERTIFICATE_ISSUANCE, issuance())
    world.settle()

    assert not announced(world, SagaWaiting)
    assert "approve-certificate" not in world.announced[0].steps


def test_a_wait_survives_a_crash(world):
    world.signal("ada")
    before = world.saga
    world.crash()

    assert world.saga == before
    assert not list(machine.pending_commands(world.definition, world.saga))


def test_a_root_that_needs_two_is_approved_of_three_times_and_its_intermediate_never():
    world = World.begin(PKI_BOOTSTRAP, BOOTSTRAP.model_copy(update={"approvals": 2}))
    world.settle()
    keys = [sent.command for sent in world.commands if isinstance(sent.command, GenerateKey)]
    signatures = [sent.command for sent in world.commands if isinstance(sent.command, SignWithKey)]
    [end] = announced(world, PkiBootstrapCompleted)

    assert [key.approvals for key in keys] == [2, 0]
    assert [len(signature.approvals) for signature in signatures] == [2, 2, 2, 0]
    assert [waiting.step for waiting in announced(world, SagaWaiting)] == [
        "approve-root-certificate",
        "approve-intermediate-certificate",
        "approve-root-crl",
    ]
    assert end.trust_bundle_id == world.saga.id_of("trust-bundle")


def test_a_step_that_stands_already_is_done_and_what_rests_on_it_is_passed_over():
    world = begun("crl")
    world.toys.crl_is_current = True
    world.settle()
    [end] = announced(world, CrlPublicationCompleted)

    assert world.saga.phase is Phase.COMPLETED
    assert sent_commands(world) == ["CreateCrl"]
    assert end.number is None


def test_of_a_step_that_stood_already_nothing_is_undone():
    world = World.begin(CRL_PUBLICATION, CRL)
    world.toys.crl_is_current = True
    world.deliver(world.commands[0])
    world.receive(world.events[0])

    assert world.saga.outcomes == ()


def test_of_what_is_not_made_nobody_has_to_approve():
    world = begun("crl-approved")
    world.toys.crl_is_current = True
    world.settle()

    assert world.saga.phase is Phase.COMPLETED
    assert not announced(world, SagaWaiting)


def test_a_renewal_that_was_undone_says_what_it_left_on_the_device():
    request = renewal(yubikey_serial="42000001", slot=Slot.AUTHENTICATION)
    world = World.begin(CERTIFICATE_RENEWAL, request, frozenset({"SupersedeCertificate"}))
    world.log["yubikey", "42000001"].append(IN_SLOT)
    world.slots["9a"] = IN_SLOT.key_id
    world.settle()

    assert world.saga.phase is Phase.FAILED
    assert "slot 9a" in world.saga.left_over[0].reason
    assert not world.existing_certificates()
