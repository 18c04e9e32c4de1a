"""C2SP's x509-limbo against our own path validation: every case agrees, or stands below with the reason why not.

A case is judged by the rules that it is about: those in `webpki::` by the Baseline Requirements too, all others by
RFC 5280 alone. (Three pairs of cases are one chain that the one accepts and the other rejects.)
"""

import base64
import gzip
import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from services.certificate.verification.budget import DEFAULT_LIMITS, PathLimits
from services.certificate.verification.certificate_checks import RFC_5280, RuleSet
from services.certificate.verification.crl_checks import CrlChecker, no_revocation_check
from services.certificate.verification.name_matching import Address, Host, Mailbox
from services.certificate.verification.path_building import ValidPath, verify
from services.certificate.verification.path_validation import VerifyOptions
from shared.contracts.certificate.value_types import VerifiedUsage

DATA = Path(__file__).parents[3] / "data" / "x509-limbo" / "limbo.json.gz"
CASES = {case["id"]: case for case in json.loads(gzip.decompress(DATA.read_bytes()))["testcases"]}
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)

_COMMON_NAME = (
    "its common name is example.com and none of its alternative names, which BR 7.1.4.3 forbids;"
    " nine other cases (webpki::cn::*) are rejected for that alone, and we reject this one as well"
)
EXPLAINED_DISAGREEMENTS = {
    "webpki::nc::nc-permits-dns-san-pattern": _COMMON_NAME,
    "webpki::san::exact-localhost-ip-san": _COMMON_NAME,
    "webpki::san::leftmost-wildcard-san": _COMMON_NAME,
}

_SUFFIXES = PublicSuffixList()
WEB = RuleSet(web=True, is_public_suffix=lambda name: _SUFFIXES.publicsuffix(name) == name)
USAGES = {"SERVER": VerifiedUsage.TLS_SERVER, "CLIENT": VerifiedUsage.TLS_CLIENT}
PEERS = {"DNS": Host, "RFC822": Mailbox, "IP": lambda value: Address(ip_address(value))}

each_case = pytest.mark.parametrize("name", CASES)


def judged(name, rules=None):
    case = CASES[name]
    expected = [each for each in (case["expected_peer_name"], *case["expected_peer_names"]) if each]
    instant = case["validation_time"]
    depth = case["max_chain_depth"]
    options = VerifyOptions(
        datetime.fromisoformat(instant) if instant else SOME_DAY,
        USAGES[case["validation_kind"]],
        tuple(PEERS[each["kind"]](each["value"]) for each in expected),
        CrlChecker([der(crl) for crl in case["crls"]]) if case["crls"] else no_revocation_check,
    )
    return verify(
        der(case["peer_certificate"]),
        [der(pem) for pem in case["untrusted_intermediates"]],
        [der(pem) for pem in case["trusted_certs"]],
        options,
        rules=rules or (WEB if name.startswith("webpki::") else RFC_5280),
        limits=DEFAULT_LIMITS if depth is None else PathLimits(intermediates=depth),
    )


def der(pem):
    return base64.b64decode("".join(line for line in pem.splitlines() if "-----" not in line))


@each_case
def test_it_is_judged_as_the_case_expects_or_the_reason_why_not_stands_here(name):
    answer = judged(name)

    agrees = isinstance(answer, ValidPath) == (CASES[name]["expected_result"] == "SUCCESS")
    assert agrees == (name not in EXPLAINED_DISAGREEMENTS), answer


@each_case
def test_no_case_makes_it_work_long(name):
    budget = judged(name).budget

    assert budget.signatures <= 12
    assert budget.steps <= 120


def test_what_we_do_not_agree_with_is_no_more_than_that():
    assert len(CASES) == 193
    assert len(EXPLAINED_DISAGREEMENTS) <= 8
    assert EXPLAINED_DISAGREEMENTS.keys() <= CASES.keys()


@pytest.mark.parametrize("name", EXPLAINED_DISAGREEMENTS)
def test_the_rfc_alone_agrees_where_the_baseline_requirements_contradict_the_case(name):
    assert isinstance(judged(name, RFC_5280), ValidPath)


@given(
    st.sampled_from([name for name, case in CASES.items() if "denial-of-service" not in case["features"]]), st.data()
)
def test_what_was_changed_anywhere_in_a_case_breaks_nothing(name, data):
    """The leaf, and what is above it: whatever octets are handed in, the answer is yes or no."""
    case = CASES[name]
    encoded = [
        der(case["peer_certificate"]),
        *map(der, case["untrusted_intermediates"]),
        *map(der, case["trusted_certs"]),
    ]
    which = data.draw(st.integers(0, len(encoded) - 1))
    where = data.draw(st.integers(0, len(encoded[which]) - 1))
    encoded[which] = encoded[which][:where] + data.draw(st.binary(max_size=3)) + encoded[which][where + 1 :]
    leaf, *others = encoded

    for rules in (RFC_5280, WEB):
        verify(leaf, others, others[-1:], VerifyOptions(SOME_DAY, VerifiedUsage.TLS_SERVER), rules=rules)
