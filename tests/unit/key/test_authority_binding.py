"""When a key is told for which certificate it signs, as given, when, then."""

import pytest

from services.key.domain import KEY
from services.key.effects import BindCertificate, CaCertificateInvalid, CaCertificateRegistered
from shared.contracts.key.commands import BindAuthority
from shared.contracts.key.events import AuthorityBound, KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm, Provenance, Purpose
from shared.contracts.rejection import RejectionCode
from tests.support.scenario import Scenario

ID = "0192f0c1-0000-7000-8000-00000000000a"
PEM = "-----BEGIN CERTIFICATE-----\n"
PRINT = "cd" * 32
WISH = BindAuthority(key_id=ID, certificate_pem=PEM)
EFFECT = BindCertificate(ID, PEM)
BOUND = AuthorityBound(key_id=ID, certificate_pem=PEM, fingerprint_sha256=PRINT)
REVOKED = KeyRevoked(key_id=ID, reason="lost")
key = Scenario(KEY)


def generated(purpose=Purpose.CERTIFICATE_SIGNING):
    return KeyGenerated(
        key_id=ID,
        algorithm=Algorithm.EC_P256,
        public_key_pem="-----BEGIN PUBLIC KEY-----\n",
        fingerprint_sha256="ab" * 32,
        purpose=purpose,
        provenance=Provenance.SOFTWARE,
        exportable=False,
    )


@pytest.mark.parametrize("history", [(generated(),), (generated(), BOUND)])
def test_the_custodian_reads_the_certificate_and_notes_the_authority(history):
    key.given(*history).when(WISH).then_performs(EFFECT)


def test_what_is_noted_is_told():
    key.given(generated()).when(CaCertificateRegistered(EFFECT, PRINT)).then(BOUND)


def test_a_certificate_that_makes_no_authority_of_the_key_is_refused_for_its_reason():
    key.given(generated()).when(CaCertificateInvalid(EFFECT, "another key")).then_rejects(
        RejectionCode.INVALID, "certificate_pem", ID, "another key"
    )


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.CERTIFICATE_SIGNING}))
def test_a_key_for_anything_else_is_no_authoritys(purpose):
    key.given(generated(purpose)).when(WISH).then_rejects(RejectionCode.NOT_ALLOWED, purpose, "certificate-signing")


def test_a_key_that_is_not_there_is_not_bound():
    key.given().when(WISH).then_rejects(RejectionCode.NOT_FOUND, "there is no key", ID)


def test_a_key_that_is_over_is_not_bound():
    key.given(generated(), REVOKED).when(WISH).then_rejects(RejectionCode.CONFLICT, "a key that is in use")
