"""NIST's PKITS against our own path validation: each is judged as its name says, or the reason why not stands below.

Nothing tells our builder which certificates and CRLs belong to a test: it has them all, and finds its own paths.
"""

import base64
import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.certificate.verification.crl_checks import CrlChecker
from services.certificate.verification.path_building import ValidPath, verify
from services.certificate.verification.path_validation import VerifyOptions

DATA = json.loads(gzip.decompress((Path(__file__).parents[3] / "data" / "pkits" / "pkits.json.gz").read_bytes()))
CERTIFICATES = {name: base64.b64decode(encoded) for name, encoded in DATA["certificates"].items()}
LISTS = CrlChecker([base64.b64decode(encoded) for encoded in DATA["crls"].values()])
ANCHOR = CERTIFICATES["TrustAnchorRootCertificate"]
OTHERS = [encoded for name, encoded in CERTIFICATES.items() if not name.endswith("EE") and encoded != ANCHOR]
CASES = [name for name in CERTIFICATES if re.fullmatch(r"(Valid|Invalid).*EE", name)]
THEN = datetime(2015, 1, 1, tzinfo=UTC)

_WHY = {
    "a CRL is believed only if the key of the certificate's issuer signed it; this one is signed by another key of the"
    " same authority": """
        BasicSelfIssuedCRLSigningKeyTest6 BasicSelfIssuedNewWithOldTest4 BasicSelfIssuedOldWithNewTest1
        DNnameConstraintsTest19 SelfIssuedinhibitPolicyMappingTest7 SelfIssuedpathLenConstraintTest15
        SelfIssuedpathLenConstraintTest17 SelfIssuedrequireExplicitPolicyTest6 SeparateCertificateandCRLKeysTest19""",
    "indirect CRLs, CRLs of some reasons and distribution points by a relative name are not believed": """
        IDPwithindirectCRLTest22 IDPwithindirectCRLTest24 IDPwithindirectCRLTest25 cRLIssuerTest28 cRLIssuerTest29
        cRLIssuerTest30 cRLIssuerTest33 distributionPointTest4 distributionPointTest5 distributionPointTest7
        onlySomeReasonsTest18 onlySomeReasonsTest19""",
    "RFC 5280, 4.2.1.9 and 4.2.1.11: what must be critical was free to be so or not when PKITS was made": """
        PolicyMappingTest1 PolicyMappingTest3 PolicyMappingTest5 PolicyMappingTest6 PolicyMappingTest9
        PolicyMappingTest11 PolicyMappingTest12 PolicyMappingTest13 PolicyMappingTest14
        SelfIssuedinhibitAnyPolicyTest7 SelfIssuedinhibitAnyPolicyTest9 inhibitAnyPolicyTest2
        basicConstraintsNotCriticalTest4""",
    "DSA is relied on no longer (FIPS 186-5)": "DSAParameterInheritanceTest5 DSASignaturesTest4",
    "delta CRLs are not read: the base says that it is on hold": "deltaCRLTest5",
}
EXPLAINED_DISAGREEMENTS = {f"Valid{test}EE": why for why, tests in _WHY.items() for test in tests.split()} | {
    "InvaliddeltaCRLTest4EE": "delta CRLs are not read, as RFC 5280, 6.3.1 (b), allows; the base has it good"
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_judged_as_its_name_says_or_the_reason_why_not_stands_here(name):
    answer = verify(CERTIFICATES[name], OTHERS, [ANCHOR], VerifyOptions(THEN, revocation=LISTS))

    agrees = isinstance(answer, ValidPath) == name.startswith("Valid")
    assert agrees == (name not in EXPLAINED_DISAGREEMENTS), answer
    assert answer.budget.signatures <= 20


def test_what_is_explained_is_there():
    assert EXPLAINED_DISAGREEMENTS.keys() <= set(CASES)
