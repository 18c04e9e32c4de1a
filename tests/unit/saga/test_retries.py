"""Retry policy: the delay before each attempt."""

from datetime import timedelta

import pytest

from services.saga.core.retry import Retry
from services.saga.definitions.parts import UNATTENDED_RETRY


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (48, 60), (10_000, 60)])
def test_each_wait_is_longer_than_the_one_before_and_none_is_longer_than_the_longest(attempt, seconds):
    retry = Retry(delay=timedelta(seconds=1), factor=2, max_delay=timedelta(seconds=60))

    assert retry.delay_after(attempt) == timedelta(seconds=seconds)


def test_without_growth_every_wait_is_the_first():
    retry = Retry(delay=timedelta(seconds=3), factor=1)

    assert {retry.delay_after(attempt) for attempt in (1, 2, 500)} == {timedelta(seconds=3)}


def test_the_most_patient_policy_has_a_wait_for_its_every_attempt():
    waits = [UNATTENDED_RETRY.delay_after(attempt) for attempt in range(1, UNATTENDED_RETRY.attempts + 1)]

    assert waits == sorted(waits)
    assert waits[-1] == UNATTENDED_RETRY.max_delay
