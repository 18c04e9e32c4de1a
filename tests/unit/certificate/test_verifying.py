"""`certificate.verify`: requests, outcomes and rejections, as given-when-then."""

from datetime import timedelta

import pytest

from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.x509.domain import CERTIFICATE
from services.certificate.x509.queries import verify
from services.certificate.x509.states import Revoked
from shared.contracts.certificate.commands import VerifyCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateVerified
from shared.contracts.certificate.value_types import Profile, RevocationReason, VerifiedUsage
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Context, Perform
from tests.support.scenario import COMMAND_ID, NOON, Scenario

ID, KEY_ID = "0192f0c1-0000-7000-8000-000000000000", "0192f0c1-0000-7000-8000-000000000001"
PEM = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"
CREATED = CertificateCreated(
    certificate_id=ID,
    profile=Profile.ROOT,
    tbs=b"tbs",
    tbs_sha256="0" * 64,
    signing_key_id=KEY_ID,
    signature_algorithm=SignatureAlgorithm.ED25519,
    serial="1",
    issuer_id=None,
    issuer_public_key_pem="-----BEGIN PUBLIC KEY-----",
    key_id=KEY_ID,
    not_before=NOON,
    not_after=NOON + timedelta(days=1),
)
OURS = VerifyCertificate(certificate_id=ID)
THEIRS = VerifyCertificate(certificate_id=ID, certificate_pem=PEM, usage=VerifiedUsage.TLS_SERVER)
certificate = Scenario(CERTIFICATE)


def test_it_is_asked_about_the_instant_that_is_named_or_else_about_now():
    then = NOON - timedelta(days=400)

    certificate.when(THEIRS).then_performs(CheckPath(THEIRS, NOON))
    certificate.when(past := THEIRS.model_copy(update={"at": then})).then_performs(CheckPath(past, then))


def test_what_there_is_not_is_not_verified():
    certificate.when(OURS).then_rejects(RejectionCode.NOT_FOUND, ID, "certificate_pem")
    certificate.given(CREATED).when(OURS).then_rejects(RejectionCode.CONFLICT, "not signed yet")


def test_a_revoked_one_may_be_asked_about_for_it_may_have_been_good():
    state = Revoked(serial="1", existed=True, reason=RevocationReason.SUPERSEDED)

    assert verify(state, OURS, Context(command_id=COMMAND_ID, aggregate_id=ID, at=NOON)) == Perform(
        CheckPath(OURS, NOON)
    )


def test_one_of_ours_and_one_that_is_handed_in_are_not_asked_about_at_once():
    state = Revoked(serial="1", existed=True, reason=RevocationReason.SUPERSEDED)

    answer = verify(state, THEIRS, Context(command_id=COMMAND_ID, aggregate_id=ID, at=NOON))

    assert answer.code is RejectionCode.INVALID


@pytest.mark.parametrize(("reason", "path"), [(None, ("0" * 64,)), ("it was revoked at that instant", ())])
def test_the_answer_is_an_event_good_or_bad_and_changes_nothing(reason, path):
    answered = CertificateVerified(
        certificate_id=ID, valid=reason is None, at=NOON, usage=VerifiedUsage.TLS_SERVER, reason=reason, path=path
    )

    certificate.when(PathChecked(CheckPath(THEIRS, NOON), reason, path)).then(answered)
    assert CERTIFICATE.evolve(CERTIFICATE.initial, answered) == CERTIFICATE.initial


def test_what_cannot_be_answered_is_refused():
    certificate.when(PathNotChecked(RejectionCode.INVALID, "it is none")).then_rejects(
        RejectionCode.INVALID, "it is none"
    )
