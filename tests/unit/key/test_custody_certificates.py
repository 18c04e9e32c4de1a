"""Custody of a CA key for certificates: each rule, by a deliberate defect."""

from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from services.key.custody.ca_register import ca_certificate_of
from services.key.custody.certificate_rules import find_issuer, require_root, require_sound
from services.key.custody.name_constraints import find_violation, names_of
from services.key.custody.tbs import ALGORITHM_IDENTIFIERS, NotSignableError, read
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.der import bit_string, sequence
from tests.support.signing_inputs import (
    NOW,
    YEAR,
    Certificate,
    authority_below,
    below,
    extension,
    identifier,
    key,
    name,
    root,
)

SECOND = timedelta(seconds=1)
ROOT = root(key("root").public_key())
ISSUING = authority_below(ROOT, key("issuing").public_key())
LEAF = below(ISSUING, key("leaf").public_key())


def parsed(certificate):
    tbs = certificate if isinstance(certificate, bytes) else certificate.tbs()
    return read(tbs, SignatureAlgorithm.ECDSA_SHA256)


def noted(certificate, issuer=None):
    """Returns the custody record of a CA; without *issuer*, of a root."""
    tbs = parsed(certificate)
    source = "self" if issuer is None and tbs.issuer == tbs.subject else "signed"
    return ca_certificate_of(tbs, source, issuer)


def examine(certificate, *authorities):
    tbs = parsed(certificate)
    require_sound(tbs)
    return find_issuer(tbs, authorities)


def refuses(certificate, *authorities, because):
    with pytest.raises(NotSignableError, match=because):
        examine(certificate, *authorities)


# -- below an authority ------------------------------------------------------------------------------------------------
def test_a_leaf_is_signed_under_its_issuer():
    assert examine(LEAF, noted(ROOT), noted(ISSUING)) == noted(ISSUING)


def test_an_authority_is_signed_under_its_issuer():
    assert examine(ISSUING, noted(ROOT)) == noted(ROOT)


def test_a_key_without_a_certificate_signs_nothing_below_itself():
    refuses(LEAF, because="has no CA certificate.*key.bind-authority")


def test_another_name_as_issuer_is_refused():
    refuses(LEAF.but(issuer=name("Issuing ")), noted(ISSUING), because="the name differs")


def test_the_same_name_in_another_encoding_is_another_name():
    printable = x509.NameAttribute(NameOID.COMMON_NAME, "Issuing", x509.name._ASN1Type.PrintableString)  # noqa: SLF001 - the encoding is the point

    refuses(LEAF.but(issuer=x509.Name([printable])), noted(ISSUING), because="the name differs")


@pytest.mark.parametrize("aki", [b"", identifier(key("root").public_key())], ids=["none", "another's"])
def test_another_key_identifier_or_none_is_refused(aki):
    refuses(LEAF.but(aki=aki), noted(ISSUING), because="authority key identifier is not")


def test_where_the_authority_has_no_key_identifier_none_is_asked_for():
    authority = noted(ISSUING).model_copy(update={"key_identifier": None})

    assert examine(LEAF.but(aki=b""), authority) == authority


@pytest.mark.parametrize(
    "change", [{"begins": NOW - SECOND}, {"ends": NOW + 5 * YEAR + SECOND}], ids=["begins before", "ends after"]
)
def test_a_validity_that_is_not_within_the_issuers_is_refused(change):
    refuses(LEAF.but(**change), noted(ISSUING), because="validity does not lie within its issuer's, 2026-11-21T00:00")


def test_a_validity_that_is_just_the_issuers_is_signed():
    examine(LEAF.but(begins=ISSUING.begins, ends=ISSUING.ends), noted(ISSUING))


@pytest.mark.parametrize(("of_issuer", "asked"), [(0, 0), (0, None), (1, 1), (1, 2), (1, None), (3, 7)])
def test_a_path_length_that_is_not_less_than_the_issuers_is_refused(of_issuer, asked):
    refuses(ISSUING.but(path_length=asked), noted(ROOT.but(path_length=of_issuer)), because="path length must be less")


@pytest.mark.parametrize(("of_issuer", "asked"), [(None, None), (None, 5), (1, 0), (4, 3)])
def test_a_path_length_below_the_issuers_is_signed(of_issuer, asked):
    examine(ISSUING.but(path_length=asked), noted(ROOT.but(path_length=of_issuer)))


def test_of_several_authorities_of_one_name_the_one_that_may_signs():
    short, lasting = noted(ISSUING.but(ends=NOW + 30 * SECOND)), noted(ISSUING)

    assert examine(LEAF, short, lasting) == lasting


# -- whoever signs it --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("forbidden", ["key_cert_sign", "crl_sign"])
def test_who_is_no_authority_has_no_authoritys_key_usage(forbidden):
    refuses(LEAF.but(usages=("digital_signature", forbidden)), noted(ISSUING), because="it is not a CA certificate")


@pytest.mark.parametrize("usages", [(), ("crl_sign",)])
def test_an_authority_has_the_key_usage_of_one(usages):
    refuses(ISSUING.but(usages=usages), noted(ROOT), because="must have keyCertSign")


def test_an_authority_says_so_critically():
    refuses(ISSUING.but(basic_critical=False), noted(ROOT), because="must be critical")


def test_an_authority_has_a_name():
    refuses(ISSUING.but(subject=x509.Name([])), noted(ROOT), because="must have a subject")


def test_name_constraints_of_no_authority_are_refused():
    nonsense = LEAF.but(extensions=(permitted(x509.DNSName("example")),))

    refuses(nonsense, noted(ISSUING), because="it is not a CA certificate")


@pytest.mark.parametrize(
    "content",
    [
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
        x509.PrecertPoison(),
        x509.OCSPNoCheck(),
    ],
    ids=["unknown", "precertificate", "never critical"],
)
def test_a_critical_extension_that_is_not_understood_is_refused(content):
    refuses(LEAF.but(extensions=(extension(content, critical=True),)), noted(ISSUING), because="is not understood")


def test_what_is_not_critical_may_be_anything():
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    examine(LEAF.but(extensions=(extension(unknown), extension(x509.OCSPNoCheck()))), noted(ISSUING))


# -- about itself ------------------------------------------------------------------------------------------------------
def refuses_root(certificate, *authorities, because):
    with pytest.raises(NotSignableError, match=because):
        require_root(parsed(certificate), authorities)


@pytest.mark.parametrize("aki", [b"", ROOT.aki], ids=["none", "its own"])
def test_a_new_key_signs_a_root_about_itself(aki):
    require_root(parsed(ROOT.but(aki=aki)), ())


def test_a_root_is_renewed_under_its_name():
    require_root(parsed(ROOT.but(serial=2, ends=NOW + 20 * YEAR)), (noted(ROOT),))


def test_a_root_does_not_take_another_name():
    refuses_root(root(ROOT.public, "Other"), noted(ROOT), because="none of a root of this name")


def test_who_was_made_an_authority_by_another_does_not_make_itself_a_root():
    refuses_root(root(ISSUING.public, "Issuing"), noted(ISSUING), because="a CA certificate already")


def test_a_roots_successor_that_the_old_key_signed_does_not_make_itself_a_root_either():
    successor = authority_below(ROOT, key("successor").public_key(), "Root")

    refuses_root(root(successor.public, "Root"), noted(successor, noted(ROOT)), because="a CA certificate already")


def test_nothing_but_a_root_has_the_key_that_signs_it():
    refuses_root(LEAF.but(public=ISSUING.public), noted(ISSUING), because="issuer's own, which only a self-issued root")


def test_a_root_that_is_no_authority_is_refused():
    refuses_root(ROOT.but(ca=False, usages=("digital_signature",)), because="cA of its basic constraints")


def test_a_root_that_names_another_key_is_refused():
    refuses_root(ROOT.but(aki=b"x" * 20), because="authority key identifier is not its own")


# -- name constraints --------------------------------------------------------------------------------------------------
def permitted(*subtrees):
    return extension(x509.NameConstraints([*subtrees], None), critical=True)


def excluded(*subtrees):
    return extension(x509.NameConstraints(None, [*subtrees]), critical=True)


def alternatives(*names):
    return (extension(x509.SubjectAlternativeName([*names])),)


def unit(organization, common_name="x"):
    attributes = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def acme(name_="ACME"):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name_)])


DNS, MAIL, URI, IP = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress
ADDRESS, NETWORK = (lambda text: IP(ip_address(text))), (lambda text: IP(ip_network(text)))
CASES = [
    # subtree, names within it, names outside it
    (DNS("example.org"), [DNS("example.org"), DNS("a.b.EXAMPLE.org"), DNS("*.example.org")], [DNS("notexample.org")]),
    (DNS(".example.org"), [DNS("a.example.org")], [DNS("example.org"), DNS("aexample.org")]),
    (DNS("host.example.org"), [DNS("host.example.org")], [DNS("example.org"), DNS("host.example.org.evil.net")]),
    (MAIL("example.org"), [MAIL("ada@EXAMPLE.org")], [MAIL("ada@a.example.org"), MAIL("ada@notexample.org")]),
    (MAIL(".example.org"), [MAIL("ada@a.example.org")], [MAIL("ada@example.org")]),
    (MAIL("ada@example.org"), [MAIL("ada@example.org")], [MAIL("bob@example.org"), MAIL("Ada@example.org")]),
    (
        URI("example.org"),
        [URI("https://u@example.org:8443/x")],
        [URI("https://a.example.org/"), URI("http://evil.net/")],
    ),
    (URI(".example.org"), [URI("https://a.EXAMPLE.org/")], [URI("https://example.org/"), URI("http://aexample.org/")]),
    (NETWORK("10.0.0.0/8"), [ADDRESS("10.1.2.3")], [ADDRESS("11.0.0.1"), ADDRESS("::1"), ADDRESS("::ffff:10.0.0.1")]),
    (NETWORK("2001:db8::/32"), [ADDRESS("2001:db8::1")], [ADDRESS("2001:db9::1"), ADDRESS("10.0.0.1")]),
    (
        x509.DirectoryName(acme()),
        [x509.DirectoryName(unit("ACME")), x509.DirectoryName(unit(" acme "))],
        [x509.DirectoryName(unit("ACME Ltd")), x509.DirectoryName(name("ACME"))],
    ),
]


def judged(constraint, *names, subject=None):
    """Returns the defect of a leaf with these names under a CA with this constraint, or None."""
    authority = noted(ISSUING.but(extensions=(constraint,)))
    leaf = LEAF.but(subject=subject or x509.Name([]), extensions=alternatives(*names) if names else ())
    return find_violation(authority.constraints[0], names_of(parsed(leaf)))


@pytest.mark.parametrize(("subtree", "inside", "outside"), CASES)
def test_names_within_a_permitted_subtree_are_signed_and_others_are_not(subtree, inside, outside):
    for each in inside:
        assert judged(permitted(subtree), each) is None
    for each in outside:
        assert "is not within what its issuer's name constraints permit" in judged(permitted(subtree), each)
    assert judged(permitted(subtree), inside[0], outside[0])


@pytest.mark.parametrize(("subtree", "inside", "outside"), CASES)
def test_names_within_an_excluded_subtree_are_refused_and_others_are_signed(subtree, inside, outside):
    for each in inside:
        assert "is within what its issuer's name constraints exclude" in judged(excluded(subtree), each)
    for each in outside:
        assert judged(excluded(subtree), each) is None


def test_names_of_other_forms_are_not_constrained():
    assert (
        judged(permitted(DNS("example.org")), ADDRESS("10.0.0.1"), MAIL("ada@evil.net"), subject=unit("Evil")) is None
    )


def test_exclusion_is_stronger_than_permission():
    both = extension(x509.NameConstraints([DNS("example.org")], [DNS("secret.example.org")]), critical=True)

    assert judged(both, DNS("www.example.org")) is None
    assert "exclude" in judged(both, DNS("a.secret.example.org"))


@pytest.mark.parametrize("wildcard", ["*.example.org", "s*.example.org", "*.org", "*"])
def test_a_wildcard_that_stands_for_an_excluded_host_is_refused(wildcard):
    assert judged(excluded(DNS("secret.example.org")), DNS(wildcard))


@pytest.mark.parametrize("uri", ["urn:uuid:1", "https://10.0.0.1/", "https://[::1]/", "https://a\\@example.org/"])
def test_a_uri_without_a_host_name_is_refused_where_uris_are_constrained(uri):
    assert judged(permitted(URI("example.org")), URI(uri))
    assert judged(excluded(URI("example.org")), URI(uri))


def test_the_subject_is_a_directory_name():
    assert judged(permitted(x509.DirectoryName(acme())), subject=unit("ACME")) is None
    assert "evil" in judged(permitted(x509.DirectoryName(acme())), subject=unit("Evil"))


def test_an_e_mail_address_in_the_subject_is_one():
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ada@evil.net")])

    assert "ada@evil.net" in judged(permitted(MAIL("example.org")), subject=subject)


@pytest.mark.parametrize(
    "constraint",
    [
        permitted(x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")),
        excluded(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
    ],
)
def test_an_authority_with_constraints_of_another_form_is_refused(constraint):
    with pytest.raises(NotSignableError, match="of a form not understood"):
        noted(ISSUING.but(extensions=(constraint,)))


def test_a_reason_quotes_no_more_than_can_be_read():
    problem = NotSignableError("x\0\ud800\n" + "y" * 1000)

    assert str(problem).startswith("x???yyy")
    assert len(str(problem)) == 400


def test_name_constraints_that_are_not_critical_are_refused():
    with pytest.raises(NotSignableError, match="must be critical"):
        noted(ISSUING.but(extensions=(extension(x509.NameConstraints([DNS("x")], None)),)))


def test_an_authority_hands_its_constraints_on_to_those_below_it():
    constrained = noted(ROOT.but(extensions=(permitted(DNS("example.org")),)))
    issuing = noted(ISSUING.but(extensions=(permitted(DNS("example.net")),)), constrained)

    refuses(LEAF.but(extensions=alternatives(DNS("a.example.net"))), issuing, because="a.example.net is not within")
    refuses(LEAF.but(extensions=alternatives(DNS("a.example.org"))), issuing, because="a.example.org is not within")


# -- all of it, at random ----------------------------------------------------------------------------------------------
CONSTRAINED = ISSUING.but(path_length=1, extensions=(permitted(DNS("example.org")),))
AUTHORITY = noted(CONSTRAINED)
SERVER = below(CONSTRAINED, key("leaf").public_key(), extensions=alternatives(DNS("www.example.org")))


def breaks_a_rule(certificate):
    """Judged by reading the finished certificate in another way than the custodian does."""
    found = {each.oid: each for each in certificate.extensions}
    basic = found.get(x509.OID_BASIC_CONSTRAINTS)
    is_ca = basic is not None and basic.value.ca
    use = found.get(x509.OID_KEY_USAGE)
    names = found.get(x509.OID_SUBJECT_ALTERNATIVE_NAME)
    hosts = [] if names is None else names.value.get_values_for_type(DNS)
    aki = found.get(x509.OID_AUTHORITY_KEY_IDENTIFIER)
    return (
        certificate.issuer != CONSTRAINED.subject
        or aki is None
        or aki.value.key_identifier != identifier(CONSTRAINED.public)
        or certificate.not_valid_before_utc < CONSTRAINED.begins
        or certificate.not_valid_after_utc > CONSTRAINED.ends
        or not 0 < certificate.serial_number < 2**159
        or (is_ca and (basic.value.path_length != 0 or not basic.critical))
        or (use is not None and use.value.key_cert_sign is not is_ca)
        or not all(host.lower().rstrip(".").endswith((".example.org",)) or host == "example.org" for host in hosts)
        or certificate.version is not x509.Version.v3
    )


def stands_or_falls(tbs):
    """Either it is refused, with a reason, or what it makes is a certificate that breaks no rule."""
    try:
        examine(tbs, AUTHORITY)
    except NotSignableError as refusal:
        assert str(refusal)  # noqa: PT017 - either way is right
        return
    finished = sequence(tbs, ALGORITHM_IDENTIFIERS[SignatureAlgorithm.ECDSA_SHA256], bit_string(b"signature"))
    assert not breaks_a_rule(x509.load_der_x509_certificate(finished))


def test_the_judge_finds_nothing_wrong_with_what_is_right():
    assert not breaks_a_rule(SERVER.finished())
    stands_or_falls(SERVER.tbs())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_no_damage_makes_a_certificate_that_breaks_a_rule(data):
    tbs = bytearray(SERVER.tbs())
    for _ in range(data.draw(st.integers(1, 3))):
        tbs[data.draw(st.integers(0, len(tbs) - 1))] = data.draw(st.integers(0, 255))

    stands_or_falls(bytes(tbs))


HOSTS = st.sampled_from(
    ["a.example.org", "example.org", "*.example.org", "example.org.evil.net", "xexample.org", "evil"]
)
MOMENTS = st.integers(-5, 5).map(lambda seconds: timedelta(seconds=seconds))


REQUESTS = st.builds(
    Certificate,
    subject=st.just(name("someone")),
    issuer=st.sampled_from([CONSTRAINED.subject, name("issuing"), ROOT.subject]),
    public=st.just(key("leaf").public_key()),
    aki=st.sampled_from([b"", identifier(CONSTRAINED.public), identifier(ROOT.public)]),
    ca=st.booleans(),
    path_length=st.sampled_from([None, 0, 1, 2]),
    usages=st.sets(st.sampled_from(["key_cert_sign", "crl_sign", "digital_signature"]), min_size=1).map(tuple),
    begins=MOMENTS.map(lambda moment: CONSTRAINED.begins + moment),
    ends=MOMENTS.map(lambda moment: CONSTRAINED.ends + moment),
    extensions=st.lists(HOSTS, min_size=1, max_size=3).map(lambda hosts: alternatives(*map(DNS, hosts))),
)


@settings(max_examples=600, deadline=None)
@given(REQUESTS)
def test_no_request_makes_a_certificate_that_breaks_a_rule(certificate):
    whole = certificate if certificate.ca else certificate.but(path_length=None)

    stands_or_falls(whole.tbs())
