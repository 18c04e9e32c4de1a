"""The issuance policy: its rules and its file."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.certificate.policy.file import policy_from
from services.certificate.policy.issuers import IssuerPolicy
from services.certificate.policy.rules import IssuanceRequest, IssuanceRule, Policy, RuleAction, check_ssh_request
from services.certificate.profiles import CrlProfile
from services.certificate.settings import CertificateSettings
from shared.contracts.certificate.events import CertificateCreated
from shared.contracts.certificate.ssh import CreateSshCertificate, SshCertificateKind
from shared.contracts.certificate.value_types import Profile, SanKind
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection
from shared.errors import Unusable
from shared.messages.ids import new_id
from tests.support.in_memory_ca import Authority, private_key, request, san

ISSUER, OTHER_ISSUER = (f"0192f0c1-0000-7000-8000-00000000000{n}" for n in range(2))
ALLOW, DENY = RuleAction.ALLOW, RuleAction.DENY
HERE = (san("www.example.org"),)
ASKED = IssuanceRequest(actor="alice", profile=Profile.TLS_SERVER, issuer_id=ISSUER, names=HERE, validity_days=90)


def allowed(asked, *rules):
    return Policy(rules=rules).check_request(asked) is None


# -- what a rule is about -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "yes"),
    [
        (IssuanceRule(ALLOW), True),
        (IssuanceRule(ALLOW, actors=("alice",)), True),
        (IssuanceRule(ALLOW, actors=("al*",)), True),
        (IssuanceRule(ALLOW, actors=("*ce", "bob")), True),
        (IssuanceRule(ALLOW, actors=("alic",)), False),
        (IssuanceRule(ALLOW, actors=("Alice", "a.ice")), False),
        (IssuanceRule(ALLOW, profiles=frozenset({Profile.TLS_SERVER})), True),
        (IssuanceRule(ALLOW, profiles=frozenset({Profile.TLS_CLIENT})), False),
        (IssuanceRule(ALLOW, issuers=(ISSUER,)), True),
        (IssuanceRule(ALLOW, issuers=(OTHER_ISSUER,)), False),
        (IssuanceRule(ALLOW, max_validity_days=90), True),
        (IssuanceRule(ALLOW, max_validity_days=89), False),
        (IssuanceRule(ALLOW, dns=("example.org",)), True),
        (IssuanceRule(ALLOW, dns=("EXAMPLE.org",)), True),
        (IssuanceRule(ALLOW, dns=("ample.org",)), False),
        (IssuanceRule(ALLOW, dns=("a.www.example.org",)), False),
        (IssuanceRule(ALLOW, email=("example.org",)), False),
    ],
)
def test_an_allow_rule_allows_what_it_is_about_and_nothing_else(rule, yes):
    assert allowed(ASKED, rule) is yes


@pytest.mark.parametrize(
    ("name", "rule", "yes"),
    [
        (san("*.example.org"), {"dns": ("example.org",)}, True),
        (san("*.example.org"), {"dns": ("www.example.org",)}, False),
        (san("a@example.org", SanKind.EMAIL), {"email": ("example.org",)}, True),
        (san("a@sub.example.org", SanKind.EMAIL), {"email": ("example.org",)}, False),
        (san("a@sub.example.org", SanKind.EMAIL), {"email": (".example.org",)}, True),
        (san("a@example.org", SanKind.EMAIL), {"email": ("b@example.org",)}, False),
        (san("a@EXAMPLE.org", SanKind.EMAIL), {"email": ("a@example.org",)}, True),
        (san("admin@evil.example", SanKind.UPN), {"email": ("example.org",)}, False),
        (san("admin@example.org", SanKind.UPN), {"email": ("example.org",)}, True),
        (san("https://a.example/x", SanKind.URI), {"uri": ("https://a.example/*",)}, True),
        (san("https://b.example/x", SanKind.URI), {"uri": ("https://a.example/*",)}, False),
        (san("192.0.2.7", SanKind.IP), {"ip": ("192.0.2.0/24",)}, True),
        (san("2001:db8::1", SanKind.IP), {"ip": ("192.0.2.0/24",)}, False),
    ],
)
def test_each_kind_of_name_has_its_patterns(name, rule, yes):
    assert allowed(replace(ASKED, names=(name,)), IssuanceRule(ALLOW, **rule)) is yes


def test_every_name_of_a_request_must_be_allowed_and_one_is_enough_to_deny_it():
    both = replace(ASKED, names=(*HERE, san("www.example.net")))

    assert not allowed(both, IssuanceRule(ALLOW, dns=("example.org",)))
    assert not allowed(both, IssuanceRule(DENY, dns=("example.net",)))
    assert allowed(ASKED, IssuanceRule(DENY, dns=("example.net",)))


def test_a_wildcard_that_stands_for_a_denied_name_is_denied():
    wild = replace(ASKED, names=(san("*.example.org"),))

    assert not allowed(wild, IssuanceRule(DENY, dns=("secret.example.org",)))
    assert allowed(wild, IssuanceRule(DENY, dns=("a.secret.example.org",)))


def test_a_deny_rule_with_a_validity_denies_what_is_longer():
    assert allowed(ASKED, IssuanceRule(DENY, max_validity_days=90))
    assert not allowed(replace(ASKED, validity_days=91), IssuanceRule(DENY, max_validity_days=90))


def test_without_rules_all_is_allowed_and_with_only_denials_the_rest():
    assert allowed(ASKED)
    assert allowed(ASKED, IssuanceRule(DENY, actors=("bob",)))
    assert not allowed(ASKED, IssuanceRule(DENY, actors=("alice",)))


def test_an_objection_says_what_would_be_allowed():
    rules = (IssuanceRule(ALLOW, actors=("al*",), profiles=frozenset({Profile.TLS_SERVER}), dns=("a.example",)),)

    objection = Policy(rules=(*rules, IssuanceRule(ALLOW, actors=("bob",)))).check_request(ASKED)

    assert objection == (
        "the policy does not allow alice this tls-server certificate; allowed are: profiles tls-server; dns a.example"
    )
    nobody = Policy(rules=rules).check_request(replace(ASKED, actor="eve"))
    assert nobody.endswith("allowed are: nothing")


# -- what holds of all rules ----------------------------------------------------------------------------------------
domains = st.sampled_from(["example.org", "www.example.org", "secret.example.org", "example.net"])
optional = st.none()
rules = st.builds(
    IssuanceRule,
    st.sampled_from(RuleAction),
    actors=st.sampled_from([("*",), ("alice",), ("bob", "a*")]),
    profiles=optional | st.frozensets(st.sampled_from([Profile.TLS_SERVER, Profile.TLS_CLIENT]), min_size=1),
    issuers=optional | st.just((ISSUER,)),
    dns=optional | st.lists(domains, max_size=2).map(tuple),
    max_validity_days=optional | st.integers(1, 100),
)
requests = st.builds(
    IssuanceRequest,
    actor=st.sampled_from(["alice", "bob", "eve"]),
    profile=st.sampled_from([Profile.TLS_SERVER, Profile.TLS_CLIENT]),
    issuer_id=st.sampled_from([ISSUER, OTHER_ISSUER, None]),
    names=st.none() | st.lists(st.one_of(domains, domains.map("*.{}".format)).map(san), max_size=2).map(tuple),
    validity_days=st.integers(1, 100),
)


@given(requests, st.lists(rules, max_size=4))
def test_a_denial_wins(asked, some):
    if any(rule.action is DENY and rule.denies(asked) for rule in some):
        assert not allowed(asked, *some)


@given(requests, st.lists(rules, max_size=4))
def test_the_order_of_rules_does_not_matter(asked, some):
    assert len({allowed(asked, *each) for each in permutations(some)}) == 1


@given(requests, st.lists(rules, max_size=4), rules)
def test_another_allow_takes_nothing_away_and_another_denial_gives_nothing(asked, some, another):
    before = allowed(asked, *some)

    first_allow = not any(rule.action is ALLOW for rule in some)
    if before and not first_allow:
        assert allowed(asked, *some, replace(another, action=ALLOW))
    if not before:
        assert not allowed(asked, *some, replace(another, action=DENY))


# -- in the service -------------------------------------------------------------------------------------------------
async def test_the_policy_judges_the_actor_of_a_command():
    only_alice = IssuanceRule(ALLOW, actors=("alice",), profiles=frozenset({Profile.ROOT}))
    authority = Authority(Policy(rules=(only_alice,)))
    wish = request(Profile.ROOT, private_key(Algorithm.EC_P256), key_id=str(new_id()))

    refused = await authority.ask(wish, actor="eve")

    assert isinstance(refused, Rejection)
    assert (refused.code, "eve" in refused.message) == (RejectionCode.NOT_ALLOWED, True)
    assert isinstance(await authority.ask(wish, actor="alice"), CertificateCreated)


# -- the file -------------------------------------------------------------------------------------------------------
WHOLE = f"""
issuers:
  - match: {{issuer_id: {ISSUER}}}
    base_url: http://pki.example.org/a
    ocsp: true
    crl: {{period_hours: 6, overlap_hours: 12}}
    expiry: {{announce_days: 10, renew: true}}
  - match: {{any: true}}
    base_url: http://pki.example.org
rules:
  - effect: allow
    actors: ["ops-*"]
  - effect: allow
    actors: [alice]
    profiles: [tls-server]
    issuers: [{ISSUER}]
    dns: [example.org]
    email: [.example.org]
    uri: ["urn:uuid:*"]
    ip: [192.0.2.0/24]
    max_validity_days: 90
  - effect: deny
    dns: [secret.example.org]
"""


def read(tmp_path, text, public_url=None):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return policy_from(path, public_url).x509


def test_the_file_says_all_that_a_policy_is(tmp_path):
    policy = read(tmp_path, WHOLE)

    crl = CrlProfile(timedelta(hours=6), timedelta(hours=12))
    theirs = IssuerPolicy(
        base_url="http://pki.example.org/a", ocsp=True, crl=crl, expiry_notice=timedelta(days=10), renew=True
    )
    assert policy.for_issuer(ISSUER) == theirs
    assert policy.for_issuer(OTHER_ISSUER) == IssuerPolicy(base_url="http://pki.example.org")
    assert policy.rules[1] == IssuanceRule(
        ALLOW,
        ("alice",),
        frozenset({Profile.TLS_SERVER}),
        (ISSUER,),
        ("example.org",),
        (".example.org",),
        ("urn:uuid:*",),
        ("192.0.2.0/24",),
        90,
    )
    assert policy.check_request(ASKED) is None
    assert policy.check_request(replace(ASKED, names=(san("secret.example.org"),))) is not None


@pytest.mark.parametrize("text", ["", "issuers: []\n", "rules: []\n"])
def test_a_file_may_say_little(tmp_path, text):
    assert read(tmp_path, text) == Policy()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules:\n  - effect: allow\n    dns: [example.org\n", ["line 4", "not YAML"]),
        ("rules:\n  - effect: allow\n    colour: red\n", ["line 3", "rules.0.colour", "not permitted"]),
        ("rules:\n  - effect: perhaps\n", ["line 2", "rules.0.effect"]),
        ("rules:\n  - actors: [alice]\n", ["line 2", "rules.0.effect", "required"]),
        ("rules:\n  - effect: allow\n    profiles: [root, tree]\n", ["line 3", "rules.0.profiles"]),
        ("rules:\n  - effect: deny\n    dns:\n      - example.org\n      - '*.org'\n", ["line 5", "dns.1", "a domain"]),
        ("rules:\n  - effect: deny\n    ip: [192.0.2.1/24]\n", ["line 3", "ip.0"]),
        ("rules:\n  - effect: deny\n    effect: allow\n", ["line 3", "field effect twice"]),
        ("issuers:\n  - match: {}\n", ["line 2", "issuers.0.match", "any: true"]),
        ("issuers:\n  - match: {any: true}\n    base_url: pki.example.org/\n", ["line 3", "base_url"]),
        ("issuers:\n  - match: {any: true}\n    crl: {period_hours: 0}\n", ["line 3", "period_hours"]),
        ("- effect: allow\n", ["line 1", "the whole"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_line_and_the_field(tmp_path, text, words):
    with pytest.raises(Unusable) as refused:
        read(tmp_path, text)

    for word in words:
        assert word in str(refused.value)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(Unusable, match=r"nowhere\.yaml"):
        policy_from(tmp_path / "nowhere.yaml", None)


def test_a_public_url_stands_for_all_issuers_that_have_no_other(tmp_path):
    assert policy_from(None, "http://127.0.0.1:8080/").x509.for_issuer(ISSUER).base_url == "http://127.0.0.1:8080"
    policy = read(tmp_path, WHOLE.replace("    base_url: http://pki.example.org\n", ""), "http://127.0.0.1:8080")
    assert policy.for_issuer(ISSUER).base_url == "http://pki.example.org/a"
    assert policy.for_issuer(OTHER_ISSUER).base_url == "http://127.0.0.1:8080"


def test_the_environment_says_which_policy_there_is(tmp_path):
    (tmp_path / "policy.yaml").write_text(WHOLE)

    settings = CertificateSettings.read(
        {"CERTIFICATE_POLICY_FILE": str(tmp_path / "policy.yaml"), "ENABLE_ML_DSA": "true"}
    )

    assert settings.policy == replace(policy_from(tmp_path / "policy.yaml", None).x509, ml_dsa=True)
    assert CertificateSettings.read({}).policy == Policy()
    assert (
        CertificateSettings.read({"PUBLIC_URL": "http://a.example"}).policy.for_issuer(None).base_url
        == "http://a.example"
    )


@pytest.mark.parametrize("environment", [{"ENABLE_ML_DSA": "perhaps"}, {"PUBLIC_URL": "a.example"}])
def test_an_environment_that_says_nothing_sensible_is_refused(environment):
    with pytest.raises(Unusable, match=next(iter(environment))):
        CertificateSettings.read(environment)


# --- SSH ---------------------------------------------------------------------------

KEY = "0192f0c1-0000-7000-8000-000000000009"
SSH = """
ssh:
  - {effect: allow, actors: ["ops-*"], kinds: [user], principals: [deploy, "web-*"], max_validity_minutes: 480}
  - {effect: deny, principals: [root]}
"""


@pytest.mark.parametrize(
    ("actor", "changes", "allowed"),
    [
        ("ops-1", {}, True),
        ("ops-1", {"principals": ("deploy", "web-7")}, True),
        ("ops-1", {"principals": ("deploy", "alice")}, False),
        ("ops-1", {"principals": ("deploy", "root")}, False),
        ("ops-1", {"validity_minutes": 481}, False),
        ("ops-1", {"kind": SshCertificateKind.HOST}, False),
        ("alice", {}, False),
    ],
)
def test_who_may_have_which_ssh_principals_is_laid_down_too(tmp_path, actor, changes, allowed):
    path = tmp_path / "policy.yaml"
    path.write_text(SSH)
    asked = CreateSshCertificate(
        **{
            "kind": SshCertificateKind.USER,
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS",
            "key_identity": "somebody",
            "principals": ("deploy",),
            "validity_minutes": 60,
            "signing_key_id": KEY,
            "ca_public_key_pem": "-----BEGIN PUBLIC KEY-----",
            **changes,
        }
    )

    assert (check_ssh_request(policy_from(path, None).ssh, actor, asked) is None) is allowed


def test_a_policy_without_ssh_rules_allows_every_principal():
    assert policy_from(None, None).ssh == ()


def test_pointers_into_tls_are_refused_when_the_file_is_read(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("issuers: [{match: {any: true}, base_url: https://pki.example.org}]")

    with pytest.raises(Unusable, match="must begin with http://"):
        policy_from(path, None)
