"""Certificate policies that an authority demands of all below it (RFC 5280, 6.1); more of it is in PKITS."""

import pytest
from cryptography import x509

from services.certificate.verification.path_building import ValidPath, verify
from services.certificate.verification.path_validation import VerifyOptions
from tests.support.certificate_factory import Party, later

ONE, TWO, ANY = (
    x509.ObjectIdentifier("1.3.6.1.4.1.1.1"),
    x509.ObjectIdentifier("1.3.6.1.4.1.1.2"),
    x509.ObjectIdentifier("2.5.29.32.0"),
)
ROOT = Party("Root")


def policies(*identifiers):
    return x509.CertificatePolicies([x509.PolicyInformation(each, None) for each in identifiers]), False


def mapped(issuers, subjects):
    def der(identifier):
        return x509.CertificatePolicies([x509.PolicyInformation(identifier, None)]).public_bytes()[4:]

    pair = der(issuers) + der(subjects)
    whole = bytes([0x30, len(pair)]) + pair
    oid = x509.ObjectIdentifier("2.5.29.33")
    return x509.UnrecognizedExtension(oid, bytes([0x30, len(whole)]) + whole), True


DEMANDED = (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True)
NO_MAPPING = (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=0), True)
NO_ANY = (x509.InhibitAnyPolicy(0), True)


@pytest.mark.parametrize(
    ("of_authority", "of_leaf", "valid"),
    [
        ([], [], True),
        ([policies(ONE)], [], True),
        ([policies(ONE), DEMANDED], [policies(ONE)], True),
        ([policies(ANY), DEMANDED], [policies(TWO)], True),
        ([policies(ONE), DEMANDED], [policies(ANY)], True),
        ([policies(ONE), DEMANDED], [policies(TWO)], False),
        ([policies(ONE), DEMANDED], [], False),
        ([DEMANDED], [policies(ONE)], False),
        ([policies(ONE), DEMANDED, NO_ANY], [policies(ANY)], False),
        ([policies(ONE), DEMANDED, mapped(ONE, TWO)], [policies(TWO)], True),
        ([policies(ONE), DEMANDED, mapped(ONE, TWO)], [policies(ONE)], False),
        ([policies(ONE), mapped(ANY, TWO)], [policies(TWO)], False),
    ],
)
def test_a_policy_is_left_where_one_is_demanded(of_authority, of_leaf, valid):
    authority = Party("Authority", ROOT, extensions=of_authority)
    leaf = Party("Leaf", authority, ca=False, extensions=of_leaf)

    answer = verify(leaf.der, [authority.der], [ROOT.der], VerifyOptions(later(days=1)))

    assert isinstance(answer, ValidPath) == valid, answer


def test_mappings_are_worth_nothing_where_an_authority_above_forbids_them():
    above = Party("Above", ROOT, extensions=[policies(ONE), NO_MAPPING])
    authority = Party("Authority", above, extensions=[policies(ONE), mapped(ONE, TWO)])
    leaf = Party("Leaf", authority, ca=False, extensions=[policies(TWO)])

    answer = verify(leaf.der, [above.der, authority.der], [ROOT.der], VerifyOptions(later(days=1)))

    assert "policies" in answer.reason
