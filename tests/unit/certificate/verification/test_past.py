"""How a certificate stood at an instant, by what the log says of it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.certificate.verification.status_history import RevocationStatus, StatusHistory
from shared.contracts.certificate.events import (
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.contracts.certificate.value_types import Profile, RevocationReason
from tests.support.scenario import NOON

ID, ISSUER_ID = "0192f0c1-0000-7000-8000-000000000000", "0192f0c1-0000-7000-8000-000000000001"
MINUTE = timedelta(minutes=1)
HELD = CertificateHeld(certificate_id=ID, issuer_id=ISSUER_ID, serial="1f", not_after=NOON)
RELEASED = CertificateReleased(certificate_id=ID, issuer_id=ISSUER_ID, serial="1f")
REVOKED = CertificateRevoked(
    certificate_id=ID, reason=RevocationReason.KEY_COMPROMISE, issuer_id=ISSUER_ID, serial="1f"
)


def past(*events):
    """Each event a minute after the one before, the first one at noon."""
    found = StatusHistory()
    for minutes, event in enumerate(events):
        found.apply(event, NOON + minutes * MINUTE)
    return found


def statuses(found, minutes):
    return [found.status(ID, NOON + minute * MINUTE) for minute in minutes]


def test_a_certificate_is_good_until_something_else_is_said():
    assert past().status(ID, NOON) is RevocationStatus.GOOD


def test_what_was_held_and_released_was_not_good_in_between_only():
    found = past(HELD, RELEASED)

    assert statuses(found, (-1, 0, 0.5, 1, 9)) == ["good", "on hold", "on hold", "good", "good"]


def test_what_is_revoked_was_good_before_and_never_after():
    assert statuses(past(HELD, RELEASED, REVOKED), (-1, 0, 1, 2, 999)) == [
        "good",
        "on hold",
        "good",
        "revoked",
        "revoked",
    ]


def test_a_revocation_goes_back_to_when_the_key_was_lost():
    lost = REVOKED.model_copy(update={"invalidity_date": NOON - 60 * MINUTE})

    assert statuses(past(lost), (-61, -60, -1, 0)) == ["good", "revoked", "revoked", "revoked"]


def test_a_date_after_the_revocation_puts_nothing_off():
    lost = REVOKED.model_copy(update={"invalidity_date": NOON + 60 * MINUTE})

    assert statuses(past(lost), (-1, 0)) == ["good", "revoked"]


@given(st.lists(st.sampled_from([HELD, RELEASED, REVOKED])), st.lists(st.sampled_from([HELD, RELEASED, REVOKED])))
def test_what_happens_later_changes_nothing_of_what_was(before, after):
    whole, part = past(*before, *after), past(*before)
    minutes = [n - 0.5 for n in range(len(before) + 1)]

    assert statuses(whole, minutes) == statuses(part, minutes)


def test_one_that_is_handed_in_is_known_by_its_issuer_and_serial():
    assert past(HELD).certificate_id_of(ISSUER_ID, 0x1F) == ID
    assert past(HELD).certificate_id_of(ID, 0x1F) is None


@pytest.mark.parametrize("profile", Profile)
def test_only_authorities_are_remembered(profile):
    signed = CertificateSigned(
        certificate_id=ID,
        profile=profile,
        certificate_pem="-----BEGIN CERTIFICATE-----",
        serial="1f",
        fingerprint_sha256="0" * 64,
        issuer_id=None,
        not_before=NOON,
        not_after=NOON,
    )

    assert list(past(signed).cas) == ([ID] if profile in ("root", "intermediate") else [])
