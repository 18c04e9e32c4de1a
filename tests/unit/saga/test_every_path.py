"""Exploration of every saga: with two faults, with one if there are too many paths, and at random."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import explore, wander
from tests.support.toy_services import PEM
from tests.unit.saga.test_any_order import SAGAS

NKEYS = {"operator": "O", "system-account": "A", "account": "A", "user": "U"}
ANSWERS = {f"generate-{who}-key": {"nkey": letter + "B" * 55} for who, letter in NKEYS.items()}
ANSWERS |= {f"sign-{who}": {"signature": "AA" * 42 + "AA=="} for who in (*NKEYS, "account")}
ANSWERS |= {"export-account-key": {"public_key": "A" + "B" * 55}}
ANSWERS |= {"export-public-key": {"public_key": PEM}}
SMALL = [
    "crl-approved",
    "device-lost",
    "expiry",
    "issuance-approved",
    "key-expiry",
    "nats-user",
    "nats-user-revoked",
    "ocsp",
    "renewal",
    "rotation",
    "ssh",
]
LARGE = sorted(SAGAS.keys() - set(SMALL))
TOO_LARGE = ["nats"]
"""Four keys side by side, then four JWTs: more orders than anybody waits for."""


@pytest.mark.parametrize("which", SMALL)
def test_with_two_faults_anywhere(which):
    found = explore(*SAGAS[which], answers=ANSWERS)

    assert found.ends["completed"]
    assert SAGAS[which][0].forward_only or found.ends["compensated"]


@pytest.mark.parametrize("which", [which for which in LARGE if which not in TOO_LARGE])
def test_with_a_fault_anywhere(which):
    found = explore(*SAGAS[which], faults=1, answers=ANSWERS)

    assert found.ends["completed"]
    assert SAGAS[which][0].forward_only or found.ends["compensated"]


@pytest.mark.parametrize("which", LARGE)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_with_many_faults_somewhere(which, data):
    wander(data, *SAGAS[which], answers=ANSWERS)
