"""The revocation register: a fold over the log with the same result from any starting point."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.certificate.der import crl_entry
from services.certificate.revocation.register import RevocationRegister
from shared.contracts.certificate.events import CertificateHeld, CertificateReleased, CertificateRevoked
from shared.contracts.certificate.value_types import RevocationReason
from shared.messages.ids import new_id
from tests.support.scenario import NOON

A, B = str(new_id()), str(new_id())
IDS = [str(new_id()) for _ in range(6)]
END = NOON + timedelta(days=100)


def held(serial, issuer_id=A):
    return CertificateHeld(certificate_id=IDS[serial], issuer_id=issuer_id, serial=f"{serial:x}", not_after=END)


def released(serial, issuer_id=A):
    return CertificateReleased(certificate_id=IDS[serial], issuer_id=issuer_id, serial=f"{serial:x}")


def revoked(number, issuer_id=A, reason=RevocationReason.SUPERSEDED, **fields):
    told = {"certificate_id": IDS[number], "serial": f"{number:x}", "not_after": END, "issuer_id": issuer_id}
    return CertificateRevoked(reason=reason, **(told | fields))


def fold(*events, register=None, first=1):
    register = register or RevocationRegister(crl_entry)
    for sequence, event in enumerate(events, first):
        register.apply(sequence, NOON + timedelta(minutes=sequence), event)
    return register


def listed(register, issuer_id=A):
    return {each.serial: each.reason for each in register.entries_of(issuer_id)}


def test_what_is_revoked_or_held_is_listed_under_its_issuer_and_nothing_else():
    register = fold(revoked(1), held(2), revoked(3, B, RevocationReason.KEY_COMPROMISE))

    assert listed(register) == {1: RevocationReason.SUPERSEDED, 2: None}
    assert listed(register, B) == {3: RevocationReason.KEY_COMPROMISE}
    assert listed(register, IDS[0]) == {}
    assert set(register.issuers()) == {A, B}


def test_what_is_released_is_listed_no_more_but_its_change_is_known():
    register = fold(held(1), released(1))

    assert listed(register) == {}
    assert register.last_change(A) == register.last_change(A, 1) == 2


def test_what_was_voided_or_never_signed_or_is_a_root_is_not_listed():
    voided = revoked(1, existed=False, serial=None, issuer_id=None)
    register = fold(voided, revoked(2, signed=False), revoked(3, issuer_id=None))

    assert listed(register) == {}
    assert (register.last_sequence, register.last_change(A)) == (3, 0)


def test_a_hold_that_becomes_final_counts_from_the_hold():
    register = fold(held(1), revoked(2), revoked(1))

    found = register.find(A, 1)
    assert (found.at, found.reason) == (NOON + timedelta(minutes=1), RevocationReason.SUPERSEDED)
    assert found.sequence == 3


def test_what_is_heard_a_second_time_changes_nothing():
    register = fold(held(1), released(1))

    register.apply(1, NOON, held(1))

    assert listed(register) == {}


def test_what_was_revoked_stays_as_it_was_said():
    register = fold(revoked(1), revoked(1, reason=RevocationReason.KEY_COMPROMISE), held(1))

    assert listed(register) == {1: RevocationReason.SUPERSEDED}


events = st.lists(
    st.builds(
        lambda make, serial, issuer_id: make(serial, issuer_id),
        st.sampled_from((held, released, revoked)),
        st.integers(0, 5),
        st.sampled_from((A, B)),
    ),
    max_size=30,
)


@given(events, st.integers(0, 30), st.integers(0, 5))
def test_who_begins_anew_or_hears_something_twice_comes_to_the_same(history, restart, again):
    at_once = fold(*history)

    restarted = fold(*history[:restart])
    for back in range(max(0, restart - again), len(history)):
        restarted.apply(back + 1, NOON + timedelta(minutes=back + 1), history[back])

    for issuer_id in (A, B):
        assert at_once.entries_of(issuer_id) == restarted.entries_of(issuer_id)
        assert at_once.last_change(issuer_id) == restarted.last_change(issuer_id)


@given(events, events)
def test_an_issuer_is_not_touched_by_what_is_said_of_others(of_one, of_other):
    """In any interleaving: every event keeps its place in the log, and others stand between."""
    of_one = [(2 * n + 1, e) for n, e in enumerate(of_one) if e.issuer_id == A]
    of_other = [(2 * n + 2, e) for n, e in enumerate(of_other) if e.issuer_id == B]
    alone, together = RevocationRegister(crl_entry), RevocationRegister(crl_entry)
    for sequence, event in of_one:
        alone.apply(sequence, NOON + timedelta(minutes=sequence), event)
    for sequence, event in sorted(of_one + of_other, key=lambda each: each[0]):
        together.apply(sequence, NOON + timedelta(minutes=sequence), event)

    assert alone.entries_of(A) == together.entries_of(A)
    assert alone.last_change(A) == together.last_change(A)


@given(events)
def test_the_listed_are_those_that_were_revoked_and_those_whose_hold_was_not_released(history):
    expected: dict[int, bool] = {}
    for event in history:
        if event.issuer_id == A:
            serial, final = int(event.serial, 16), expected.get(int(event.serial, 16), False)
            if isinstance(event, CertificateReleased):
                if not final:
                    expected.pop(serial, None)
            else:
                expected[serial] = final or isinstance(event, CertificateRevoked)

    assert {serial: reason is not None for serial, reason in listed(fold(*history)).items()} == expected
