"""Revocation by CRLs, and the CRLs that validation accepts (RFC 5280, 6.3)."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from services.certificate.verification.crl_checks import CrlChecker
from services.certificate.verification.path_building import PathFailure, ValidPath, verify
from services.certificate.verification.path_validation import VerifyOptions
from tests.support.certificate_factory import BEGIN, Party, key_usage, later

NOW = later(days=100)
POINT = x509.UniformResourceIdentifier("http://pki.example.org/crl/1")
ELSEWHERE = x509.UniformResourceIdentifier("http://pki.example.org/crl/2")
ROOT = Party("Root")
LEAF = Party(
    "Leaf",
    ROOT,
    ca=False,
    extensions=[(x509.CRLDistributionPoints([x509.DistributionPoint([POINT], None, None, None)]), False)],
)
NUMBER = (x509.CRLNumber(7), False)


def judge(*crls, root=ROOT, leaf=LEAF):
    return verify(leaf.der, [], [root.der], VerifyOptions(NOW, revocation=CrlChecker(crls)))


def scope(**said):
    nothing = dict.fromkeys(("full_name", "relative_name", "only_some_reasons"))
    nothing |= dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    return x509.IssuingDistributionPoint(**(nothing | said)), True


def test_a_certificate_that_no_crl_names_is_good():
    assert isinstance(judge(ROOT.crl()), ValidPath)


def test_a_certificate_that_one_of_them_names_is_not():
    assert "revoked" in judge(ROOT.crl(), ROOT.crl(LEAF)).reason


def test_a_certificate_on_hold_is_not_good_either():
    assert "on hold" in judge(ROOT.crl(LEAF, reason=x509.ReasonFlags.certificate_hold)).reason


@pytest.mark.parametrize(
    "crl",
    [
        ROOT.crl(end=later(days=99)),
        ROOT.crl(begin=later(days=101)),
        ROOT.crl(key=ec.generate_private_key(ec.SECP256R1())),
        Party("Somebody else").crl(),
        ROOT.crl(extensions=[(x509.CRLNumber(7), True)]),
        ROOT.crl(extensions=[NUMBER, (x509.DeltaCRLIndicator(6), True)]),
        ROOT.crl(extensions=[NUMBER, scope(only_contains_ca_certs=True)]),
        ROOT.crl(extensions=[NUMBER, scope(indirect_crl=True)]),
        ROOT.crl(extensions=[NUMBER, scope(full_name=[ELSEWHERE])]),
        ROOT.crl(extensions=[NUMBER, (scope(only_contains_user_certs=True)[0], False)]),
        b"no usable CRL",
    ],
    ids=[
        "out of date",
        "not yet there",
        "signed by another",
        "of another",
        "its number is critical",
        "a delta",
        "of authorities only",
        "indirect",
        "of another distribution point",
        "its scope is not critical",
        "unreadable",
    ],
)
def test_a_crl_that_cannot_be_relied_on_tells_nothing(crl):
    answer = judge(crl)

    assert isinstance(answer, PathFailure)
    assert "no usable CRL" in answer.reason


@pytest.mark.parametrize("said", [{"only_contains_user_certs": True}, {"full_name": [POINT]}], ids=str)
def test_a_crl_whose_scope_has_the_certificate_tells(said):
    assert isinstance(judge(ROOT.crl(extensions=[NUMBER, scope(**said)])), ValidPath)
    assert "revoked" in judge(ROOT.crl(LEAF, extensions=[NUMBER, scope(**said)])).reason


def test_who_may_not_sign_crls_is_not_heard():
    root = Party("Root", extensions=[(key_usage("key_cert_sign"), True)])
    leaf = Party("Leaf", root, ca=False, begin=BEGIN)

    assert "no usable CRL" in judge(root.crl(), root=root, leaf=leaf).reason
