"""Rebuild from the log: after any history the log determines the state of a saga."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.saga.core.rebuild import NotRebuildable, differences, rebuild
from shared.contracts.saga.protocol import SagaStarted
from tests.unit.saga.test_any_order import ACTIONS, SAGAS, begun, check_the_end, lived

SPOKEN = [action for action in ACTIONS if action not in ("time", "order")]


def rebuilt(world):
    return rebuild(world.definition, world.saga.origin, world.stored)


def ids_of(saga):
    """Under which ids is asked what is asked now: an answer that is on its way is known by that."""
    return {each.label: each.command_id for each in saga.pending}


@pytest.mark.parametrize("which", SAGAS)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_at_any_moment_the_log_says_where_it_stands(which, data):
    world = lived(which, data, 50, SPOKEN)
    for heard in list(world.events):
        world.receive(heard)

    again = rebuilt(world)

    assert list(differences(world.saga, again)) == []
    assert ids_of(again) == ids_of(world.saga)


@pytest.mark.parametrize("which", SAGAS)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_where_time_passed_too_it_goes_on_from_there_to_an_end_as_any(which, data):
    """A timer leaves no trace: what was asked again by one has another id. So what is rebuilt may be further on."""
    world = lived(which, data, 40)

    world.saga = rebuilt(world)
    world.send()
    world.settle()

    check_the_end(world)


@pytest.mark.parametrize("which", SAGAS)
@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_of_one_that_is_over_the_log_says_how_it_ended(which, data):
    world = lived(which, data, 30)
    world.settle()

    assert list(differences(world.saga, rebuilt(world))) == []


def test_one_that_began_before_the_log_told_what_was_asked_for_is_not_made_up():
    world = begun("issuance")
    started = world.stored[0].event
    assert isinstance(started, SagaStarted)
    world.stored[0] = replace(world.stored[0], event=started.model_copy(update={"request": None}))

    with pytest.raises(NotRebuildable, match=r"before 0\.3\.0"):
        rebuilt(world)


def test_a_log_without_the_beginning_is_said_to_be_so():
    world = begun("issuance")
    del world.stored[0]

    with pytest.raises(NotRebuildable, match="beginning"):
        rebuilt(world)


def test_an_announcement_to_which_nothing_leads_is_said_to_be_so():
    world = begun("issuance")
    world.settle()
    answers = [each for each in world.stored if each.step == "create-certificate"]
    world.stored.remove(answers[0])

    with pytest.raises(NotRebuildable, match="nothing in the log leads to its announcement"):
        rebuilt(world)


def test_its_deadline_is_the_one_that_it_had():
    world = begun("issuance")

    assert rebuilt(world).deadline == world.saga.deadline
    assert rebuilt(world).pending == world.saga.pending


def test_what_was_answered_and_not_heard_is_heard_by_the_rebuilding():
    world = begun("issuance")
    world.deliver(world.commands[0])

    again = rebuilt(world)

    assert again.finished_steps == ("generate-key",)
    assert [type(each.event).__name__ for each in again.announcements][-1] == "SagaStepFinished"
    assert again.deadline - world.saga.deadline < timedelta(seconds=1)
