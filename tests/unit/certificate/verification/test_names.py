"""Names: which a certificate is good for, and which an authority may give (RFC 9525; RFC 5280, 4.2.1.10)."""

from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from services.certificate.verification.budget import DEFAULT_LIMITS, Budget
from services.certificate.verification.name_constraints import find_malformed_subtree, find_violation
from services.certificate.verification.name_matching import Address, Host, Mailbox, matches_peer, parse_peer_name
from services.certificate.verification.parsed_certificate import parse
from tests.support.certificate_factory import Party, name

ROOT = Party("Root")
labels = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)

DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name


def net(text):
    return x509.IPAddress(ip_network(text))


def ip(text):
    return x509.IPAddress(ip_address(text))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("www.example.org", Host("www.example.org")),
        ("localhost.", Host("localhost")),
        ("192.0.2.1", Address(ip_address("192.0.2.1"))),
        ("2001:db8::1", Address(ip_address("2001:db8::1"))),
        ("alice@example.org", Mailbox("alice@example.org")),
    ],
)
def test_a_name_is_a_host_an_address_or_a_mailbox(text, read):
    assert parse_peer_name(text) == read


@pytest.mark.parametrize("text", ["*.example.org", "a..b", "-a.org", "300.1.2.3", "a@b@c", "@example.org", "a_b.org"])
def test_what_is_none_of_them_is_refused(text):
    with pytest.raises(ValueError, match="no host name"):
        parse_peer_name(text)


@given(hosts, labels)
def test_a_wildcard_stands_for_one_label_and_no_more(parent, label):
    presented = (DNS(f"*.{parent}"),)

    assert matches_peer(Host(f"{label.upper()}.{parent}"), presented)
    assert not matches_peer(Host(parent), presented)
    assert not matches_peer(Host(f"{label}.{label}.{parent}"), presented)


def test_of_a_mailbox_only_the_domain_is_compared_without_regard_to_case():
    assert matches_peer(Mailbox("Alice@EXAMPLE.org"), (MAIL("Alice@example.org"),))
    assert not matches_peer(Mailbox("alice@example.org"), (MAIL("Alice@example.org"),))


def test_an_address_is_no_host_name():
    assert not matches_peer(parse_peer_name("192.0.2.1"), (DNS("192.0.2.1"),))
    assert matches_peer(parse_peer_name("192.0.2.1"), (ip("192.0.2.1"),))


INSIDE = [
    (DNS("example.org"), DNS("example.org")),
    (DNS("a.b.EXAMPLE.org"), DNS("example.org")),
    (DNS("*.example.org"), DNS("example.org")),
    (DNS("anything.com"), DNS("")),
    (MAIL("a@example.org"), MAIL("example.org")),
    (MAIL("a@mail.example.org"), MAIL(".example.org")),
    (MAIL("a@example.org"), MAIL("a@EXAMPLE.org")),
    (URI("https://example.org/x"), URI("example.org")),
    (URI("https://u@www.example.org:8443/x"), URI(".example.org")),
    (ip("192.0.2.7"), net("192.0.2.0/24")),
    (ip("2001:db8::7"), net("2001:db8::/32")),
]
OUTSIDE = [
    (DNS("notexample.org"), DNS("example.org")),
    (DNS("org"), DNS("example.org")),
    (MAIL("a@mail.example.org"), MAIL("example.org")),
    (MAIL("a@example.org"), MAIL(".example.org")),
    (MAIL("A@example.org"), MAIL("a@example.org")),
    (URI("https://www.example.org/"), URI("example.org")),
    (URI("https://example.org/"), URI(".example.org")),
    (ip("192.0.3.7"), net("192.0.2.0/24")),
    (ip("::1"), net("0.0.0.0/0")),
]
UNCLEAR = [
    (URI("urn:uuid:5"), URI("example.org")),
    (URI("https://192.0.2.1/"), URI("example.org")),
    (DNS("*.example.org"), DNS("www.example.org")),
]


def violated(named, permitted=None, excluded=None, subject="Leaf"):
    leaf = parse(Party(subject, ROOT, ca=False, sans=[named] if named else []).der)
    return find_violation(x509.NameConstraints(permitted, excluded), leaf, Budget(DEFAULT_LIMITS)) is not None


@pytest.mark.parametrize(("named", "subtree"), INSIDE, ids=str)
def test_what_lies_in_a_subtree_is_permitted_by_it_and_excluded_by_it(named, subtree):
    assert not violated(named, permitted=[subtree])
    assert violated(named, excluded=[subtree])


@pytest.mark.parametrize(("named", "subtree"), OUTSIDE, ids=str)
def test_what_does_not_is_neither(named, subtree):
    assert violated(named, permitted=[subtree])
    assert not violated(named, excluded=[subtree])


@pytest.mark.parametrize(("named", "subtree"), UNCLEAR, ids=str)
def test_what_may_or_may_not_is_on_no_side_safe(named, subtree):
    assert violated(named, permitted=[subtree])
    assert violated(named, excluded=[subtree])


def test_a_form_that_is_not_constrained_is_free():
    assert not violated(DNS("example.org"), permitted=[net("192.0.2.0/24")])


def test_the_subject_is_constrained_and_a_mailbox_in_it_where_no_alternative_name_is_one():
    cim = name("Leaf", organization_name="CIM")
    tree = [x509.DirectoryName(x509.Name(list(cim)[:1]))]
    mailbox = name("Leaf", email_address="a@example.org")

    assert not violated(None, permitted=tree, subject=cim)
    assert violated(None, excluded=tree, subject=cim)
    assert violated(None, permitted=tree, subject=mailbox)
    assert violated(None, excluded=[MAIL("example.org")], subject=mailbox)
    assert not violated(MAIL("a@example.com"), excluded=[MAIL("example.org")], subject=mailbox)


@pytest.mark.parametrize("subtree", [DNS(".example.org"), URI("https://example.org"), URI("")], ids=str)
def test_a_subtree_that_is_none_is_found(subtree):
    assert find_malformed_subtree(x509.NameConstraints([subtree], None)) == subtree.value
