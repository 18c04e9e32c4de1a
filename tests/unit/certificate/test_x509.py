"""Issued certificates of every profile and kind of key, checked by an independent linter."""

from datetime import timedelta
from functools import reduce
from ipaddress import ip_address
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pkilint.validation import ValidationFindingSeverity

from services.certificate.names.x509_names import name_constraints_of
from services.certificate.policy.issuers import IssuerPolicy
from services.certificate.policy.rules import Policy
from services.certificate.profiles import KEY_TYPES, PROFILES, RSA_BITS, KeyType, check_key
from shared.contracts.certificate.commands import SignCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateSigned
from shared.contracts.certificate.value_types import (
    DistinguishedName,
    NameConstraints,
    Profile,
    SanKind,
    SubjectAlternativeName,
)
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection
from shared.messages.ids import new_id
from tests.support.certificate_linting import findings, server_findings
from tests.support.in_memory_ca import EVERYTHING, Authority, private_key, public_pem, request, san, sign
from tests.support.scenario import NOON

LEAVES = [profile for profile, rules in PROFILES.items() if not rules.is_ca]
FITTING = [
    (profile, algorithm)
    for profile in LEAVES
    for algorithm in Algorithm
    if check_key(profile, KEY_TYPES[algorithm], RSA_BITS.get(algorithm)) is None
]
AUTHORITY_KEY = {
    Algorithm.RSA_2048: SignatureAlgorithm.RSA_PKCS1_SHA256,
    Algorithm.RSA_3072: SignatureAlgorithm.RSA_PKCS1_SHA256,
    Algorithm.EC_P256: SignatureAlgorithm.ECDSA_SHA256,
    Algorithm.EC_P384: SignatureAlgorithm.ECDSA_SHA384,
    Algorithm.ED25519: SignatureAlgorithm.ED25519,
    Algorithm.ML_DSA_65: SignatureAlgorithm.ML_DSA_65,
}
SIGNS, ENCIPHERS, AGREES = {"digital_signature"}, {"key_encipherment"}, {"key_agreement"}
USAGE = {
    Profile.PIV_DIGITAL_SIGNATURE: dict.fromkeys(KeyType, SIGNS | {"content_commitment"}),
    Profile.PIV_KEY_MANAGEMENT: {KeyType.RSA: ENCIPHERS, KeyType.EC: AGREES, KeyType.X25519: AGREES},
    Profile.EMAIL: {
        KeyType.RSA: SIGNS | ENCIPHERS,
        KeyType.EC: SIGNS | AGREES,
        KeyType.ED25519: SIGNS,
        KeyType.ML_DSA: SIGNS,
        KeyType.X25519: AGREES,
    },
}
EXTENDED = {
    Profile.TLS_SERVER: ({"1.3.6.1.5.5.7.3.1"}, False),
    Profile.TLS_CLIENT: ({"1.3.6.1.5.5.7.3.2"}, False),
    Profile.PIV_AUTHENTICATION: ({"1.3.6.1.5.5.7.3.2"}, False),
    Profile.PIV_DIGITAL_SIGNATURE: ({"1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36"}, False),
    Profile.PIV_KEY_MANAGEMENT: ({"1.3.6.1.5.5.7.3.4"}, False),
    Profile.PIV_CARD_AUTHENTICATION: ({"2.16.840.1.101.3.6.8"}, True),
    Profile.CODE_SIGNING: ({"1.3.6.1.5.5.7.3.3"}, False),
    Profile.EMAIL: ({"1.3.6.1.5.5.7.3.4"}, False),
    Profile.OCSP_RESPONDER: ({"1.3.6.1.5.5.7.3.9"}, False),
}
PUBLISHED = Policy(issuers=((None, IssuerPolicy(base_url="http://pki.example.org", ocsp=True)),), ml_dsa=True)
P256, OTHER = private_key(Algorithm.EC_P256), private_key(Algorithm.EC_P256, 1)
HOLDER = private_key(Algorithm.EC_P256, 2)


def parsed(signed):
    return x509.load_pem_x509_certificate(signed.certificate_pem.encode())


def usages(certificate):
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    return {name for name in [*names, "key_cert_sign", "crl_sign"] if getattr(usage.value, name)}


async def hierarchy(root_key=P256, intermediate_key=OTHER, policy=EVERYTHING):
    authority = Authority(policy)
    root = await authority.root(root_key)
    return authority, root, await authority.intermediate(intermediate_key, root, root_key)


@pytest.mark.parametrize(("profile", "algorithm"), FITTING)
async def test_a_certificate_of_each_profile_for_each_key_is_sound(profile, algorithm):
    authority, _, issuer = await hierarchy(policy=PUBLISHED)
    key = private_key(algorithm)

    wish = request(profile, key, issuer_id=issuer.certificate_id, key_id=str(new_id()))
    leaf = await authority.issue(wish, OTHER)

    certificate = parsed(leaf)
    certificate.verify_directly_issued_by(parsed(issuer))
    assert findings(leaf.certificate_pem, issuer.certificate_pem) == []
    notes = findings(leaf.certificate_pem, issuer.certificate_pem, ValidationFindingSeverity.INFO)
    assert any("subject_key_identifier_rfc7093_method_1_identified" in note for note in notes)
    assert certificate.version is x509.Version.v3
    assert certificate.public_key() == key.public_key()
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value) == (True, x509.BasicConstraints(ca=False, path_length=None))
    assert usages(certificate) == USAGE.get(profile, dict.fromkeys(KeyType, SIGNS))[KEY_TYPES[algorithm]]
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert ({oid.dotted_string for oid in extended.value}, extended.critical) == EXTENDED[profile]


@pytest.mark.parametrize("algorithm", AUTHORITY_KEY)
async def test_an_authority_with_each_kind_of_key_is_sound_and_its_key_says_how_it_signs(algorithm):
    root_key, key = private_key(algorithm), private_key(algorithm, 1)
    authority, root, issuer = await hierarchy(root_key, key)

    leaf = await authority.issue(request(Profile.PIV_AUTHENTICATION, HOLDER, issuer_id=issuer.certificate_id), key)

    for signed, by, path_length in ((root, root, 1), (issuer, root, 0)):
        certificate = parsed(signed)
        certificate.verify_directly_issued_by(parsed(by))
        assert findings(signed.certificate_pem, by.certificate_pem) == []
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value) == (True, x509.BasicConstraints(ca=True, path_length=path_length))
        assert usages(certificate) == {"key_cert_sign", "crl_sign"}
    assert findings(leaf.certificate_pem, issuer.certificate_pem) == []
    assert authority.certificates[leaf.certificate_id].serial == f"{parsed(leaf).serial_number:x}"
    created = await authority.ask(request(Profile.PIV_AUTHENTICATION, HOLDER, issuer_id=issuer.certificate_id))
    assert created.signature_algorithm is AUTHORITY_KEY[algorithm]


async def test_what_is_reported_is_what_the_certificate_says():
    _, root, issuer = await hierarchy()

    certificate = parsed(issuer)

    assert issuer.fingerprint_sha256 == certificate.fingerprint(hashes.SHA256()).hex()
    assert issuer.serial == f"{certificate.serial_number:x}"
    assert issuer.issuer_id == root.certificate_id
    assert (issuer.not_before, issuer.not_after) == (
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    assert certificate.not_valid_before_utc == NOON - timedelta(minutes=5)


def url_names(extension):
    return [name.value for point in extension for name in point.full_name]


async def test_what_the_issuers_policy_publishes_stands_in_what_it_issues_and_in_no_root():
    authority, root, issuer = await hierarchy(policy=PUBLISHED)
    leaf = await authority.issue(request(Profile.TLS_CLIENT, HOLDER, issuer_id=issuer.certificate_id), OTHER)

    for signed, by in ((issuer, root), (leaf, issuer)):
        extensions = parsed(signed).extensions
        points = extensions.get_extension_for_class(x509.CRLDistributionPoints)
        access = extensions.get_extension_for_class(x509.AuthorityInformationAccess)
        assert not points.critical
        assert not access.critical
        assert url_names(points.value) == [f"http://pki.example.org/crl/{by.certificate_id}.crl"]
        assert {(each.access_method, each.access_location.value) for each in access.value} == {
            (AuthorityInformationAccessOID.OCSP, "http://pki.example.org/ocsp"),
            (AuthorityInformationAccessOID.CA_ISSUERS, f"http://pki.example.org/ca/{by.certificate_id}.cer"),
        }
        assert signed.ocsp
    oids = {extension.oid for extension in parsed(root).extensions}
    assert not oids & {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.AUTHORITY_INFORMATION_ACCESS}
    assert not root.ocsp


async def test_nobody_is_asked_whether_an_ocsp_responder_is_revoked():
    authority, _, issuer = await hierarchy(policy=PUBLISHED)

    wish = request(Profile.OCSP_RESPONDER, HOLDER, issuer_id=issuer.certificate_id)
    responder = await authority.issue(wish, OTHER)

    extensions = parsed(responder).extensions
    assert extensions.get_extension_for_class(x509.OCSPNoCheck)
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [each.access_method for each in access] == [AuthorityInformationAccessOID.CA_ISSUERS]
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert not responder.ocsp


SERVER = {
    "subject": DistinguishedName(
        common_name="www.example.org", organization="CIM", country="CH", state="Bern", locality="Thun"
    ),
    "sans": (san("www.example.org"), san("*.intern.example.org")),
}
OF_THE_PUBLIC_WEB = {
    # Only publicly trusted authorities have policies that the CA/Browser Forum knows.
    "ERROR cabf.serverauth.subscriber.certificate_policies_extension_absent: None",
    # The contract demands a common name; it is one of the names in the SAN.
    "WARNING cabf.serverauth.ov.common_name_attribute_present: None",
    # Not recommended because it makes certificates larger; RFC 5280, 4.2.1.2, says that it should be there.
    "WARNING cabf.serverauth.subscriber.subject_key_identifier_extension_present: None",
}


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.EC_P256, Algorithm.EC_P384])
async def test_a_servers_certificate_keeps_the_rules_of_the_public_web_but_for_what_is_named(algorithm):
    authority, _, issuer = await hierarchy(policy=PUBLISHED)

    wish = request(Profile.TLS_SERVER, private_key(algorithm, 3), issuer_id=issuer.certificate_id, **SERVER)
    server = await authority.issue(wish, OTHER)

    assert set(server_findings(server.certificate_pem)) == OF_THE_PUBLIC_WEB


async def test_a_wildcard_is_a_host_name_though_pkilint_takes_it_for_none_outside_the_web():
    authority, _, issuer = await hierarchy()

    wish = request(Profile.TLS_SERVER, HOLDER, issuer_id=issuer.certificate_id, **SERVER)
    server = await authority.issue(wish, OTHER)

    found = findings(server.certificate_pem, issuer.certificate_pem)
    assert found == ['ERROR pkix.invalid_domain_name_syntax: Invalid domain name syntax: "*.intern.example.org"']


@pytest.mark.parametrize("account", [(), ("alice@example.org",)])
async def test_a_card_logs_on_only_to_an_account_that_is_named(account):
    authority, _, issuer = await hierarchy()
    sans = tuple(san(each, SanKind.UPN) for each in account)

    wish = request(Profile.PIV_AUTHENTICATION, HOLDER, issuer_id=issuer.certificate_id, sans=sans)
    leaf = await authority.issue(wish, OTHER)

    assert findings(leaf.certificate_pem, issuer.certificate_pem) == []
    extensions = parsed(leaf).extensions
    extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ("1.3.6.1.4.1.311.20.2.2" in {oid.dotted_string for oid in extended}) is bool(account)
    if account:
        name = extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0]
        assert name.type_id.dotted_string == "1.3.6.1.4.1.311.20.2.3"
        assert name.value == b"\x0c\x11alice@example.org"


async def test_a_subject_says_where_it_is():
    root = await Authority().root(P256, subject=SERVER["subject"])

    said = [(attribute.rfc4514_attribute_name, attribute.value) for attribute in parsed(root).subject]
    assert said == [("C", "CH"), ("ST", "Bern"), ("L", "Thun"), ("O", "CIM"), ("CN", "www.example.org")]


async def test_the_limits_of_an_authority_stand_in_its_certificate():
    constraints = NameConstraints(
        permitted_dns=("example.org",),
        permitted_email=("example.org", ".example.org", "root@example.net"),
        permitted_ip=("192.0.2.0/24", "2001:db8::/32"),
        excluded_dns=("secret.example.org",),
    )

    root = await Authority().root(P256, path_length=3, name_constraints=constraints)

    assert findings(root.certificate_pem, root.certificate_pem) == []
    extensions = parsed(root).extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 3
    said = extensions.get_extension_for_class(x509.NameConstraints)
    assert said.critical
    assert name_constraints_of(parsed(root)) == (constraints, ())


async def test_a_hierarchy_beside_the_classical_one_signs_with_ml_dsa():
    root_key, key = private_key(Algorithm.ML_DSA_65), private_key(Algorithm.ML_DSA_65, 1)
    authority, root, issuer = await hierarchy(root_key, key)

    wish = request(Profile.TLS_CLIENT, private_key(Algorithm.ML_DSA_65, 2), issuer_id=issuer.certificate_id)
    leaf = await authority.issue(wish, key)

    for signed, by in ((root, root), (issuer, root), (leaf, issuer)):
        assert parsed(signed).signature_algorithm_oid.dotted_string == "2.16.840.1.101.3.4.3.18"
        assert findings(signed.certificate_pem, by.certificate_pem) == []


async def test_ml_dsa_is_refused_where_it_is_not_enabled():
    answer = await Authority(Policy()).ask(
        request(Profile.ROOT, private_key(Algorithm.ML_DSA_65), key_id=str(new_id()))
    )

    assert isinstance(answer, Rejection)
    assert "ML-DSA-65" in answer.message


async def test_the_key_identifiers_chain():
    _, root, issuer = await hierarchy()

    identifier = parsed(root).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = parsed(issuer).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)

    assert authority.value.key_identifier == identifier.digest
    assert not authority.critical


@pytest.mark.parametrize(("years", "tag"), [(20, 0x17), (24, 0x18)])
async def test_the_validity_is_in_utctime_to_2049_and_in_generalizedtime_from_2050(years, tag):
    root = await Authority().root(P256, validity_days=int(years * 365.25))

    after = root.not_after.strftime("%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ").encode()

    assert bytes([tag, len(after)]) + after in parsed(root).tbs_certificate_bytes


async def test_the_address_of_the_subject_is_an_alternative_name_and_not_in_the_name():
    authority, _, issuer = await hierarchy()
    home = "https://alice.example.org/~alice?card=%20"
    sans = (
        SubjectAlternativeName(kind=SanKind.EMAIL, value="second@example.org"),
        SubjectAlternativeName(kind=SanKind.EMAIL, value="alice@example.org"),
        SubjectAlternativeName(kind=SanKind.DNS, value="alice.example.org"),
        SubjectAlternativeName(kind=SanKind.URI, value=home),
        SubjectAlternativeName(kind=SanKind.IP, value="2001:db8::1"),
    )
    subject = DistinguishedName(
        common_name="Älice", organization="CIM", organizational_unit="PKI", country="CH", email="alice@example.org"
    )

    wish = request(Profile.PIV_AUTHENTICATION, HOLDER, issuer_id=issuer.certificate_id, subject=subject, sans=sans)
    leaf = await authority.issue(wish, OTHER)

    assert findings(leaf.certificate_pem, issuer.certificate_pem) == []
    assert list(parsed(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [
        x509.RFC822Name("alice@example.org"),
        x509.RFC822Name("second@example.org"),
        x509.DNSName("alice.example.org"),
        x509.UniformResourceIdentifier(home),
        x509.IPAddress(ip_address("2001:db8::1")),
    ]
    assert [(attribute.oid, attribute.value) for attribute in parsed(leaf).subject] == [
        (NameOID.COUNTRY_NAME, "CH"),
        (NameOID.ORGANIZATION_NAME, "CIM"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "PKI"),
        (NameOID.COMMON_NAME, "Älice"),
    ]


async def test_a_cards_uuid_is_an_alternative_name_though_pkilint_takes_only_urls_for_uris():
    card = "urn:uuid:0192f0c1-0000-7000-8000-000000000001"  # FIPS 201-3, 4.2.1; a URI by RFC 3986 and RFC 9562

    root = await Authority().root(P256, sans=(SubjectAlternativeName(kind=SanKind.URI, value=card),))

    names = parsed(root).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [card]
    found = findings(root.certificate_pem, root.certificate_pem)
    assert found == [f'ERROR pkix.invalid_uri_syntax: Invalid URI syntax: "{card}"']


async def test_two_spellings_of_an_address_are_one_name():
    authority, _, issuer = await hierarchy()
    sans = tuple(san(value, SanKind.IP) for value in ("2001:db8::1", "2001:DB8:0::1"))

    leaf = await authority.issue(request(Profile.TLS_CLIENT, HOLDER, issuer_id=issuer.certificate_id, sans=sans), OTHER)

    assert len(parsed(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == 1


async def test_without_alternative_names_there_is_no_such_extension():
    root = await Authority().root(P256)

    with pytest.raises(x509.ExtensionNotFound):
        parsed(root).extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "alice"),
        ("email", "a..b@example.org"),
        ("email", "alice@-example.org"),
        ("email", "<alice@example.org>"),
        ("dns", "*.example.org"),
        ("dns", "under_score.example.org"),
        ("dns", "example.org."),
        ("dns", "192.0.2.1"),
        ("dns", "a" * 64),
        ("uri", "/relative"),
        ("uri", "urn:"),
        ("uri", "https:///path"),
        ("uri", "https://[::1/"),
        ("uri", "urn:<angle>"),
        ("ip", "192.0.2.0/24"),
        ("ip", "fe80::1%eth0"),
        ("ip", "example.org"),
    ],
)
async def test_an_alternative_name_of_the_wrong_form_is_refused(kind, value):
    san = SubjectAlternativeName(kind=SanKind(kind), value=value)

    await refused(f"{value[:20]}", sans=(san,))


async def refused(*words, key=P256, profile=Profile.ROOT, **fields):
    answer = await Authority().ask(request(profile, key, **({"key_id": str(new_id())} | fields)))
    assert isinstance(answer, Rejection), answer
    assert answer.code is RejectionCode.INVALID
    for word in words:
        assert word in answer.message


async def test_a_common_name_that_x509_has_no_room_for_is_refused():
    await refused("64 bytes", subject=DistinguishedName(common_name="日" * 22))


def pem_of(key):
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_a_weak_rsa_key_is_refused():
    await refused("2048", "1024", key=rsa.generate_private_key(65537, 1024))  # noqa: S505 - it is to be refused


async def test_an_rsa_key_of_a_small_exponent_is_refused():
    await refused("exponent", key=rsa.generate_private_key(3, 2048))


async def test_an_elliptic_curve_that_piv_does_not_know_is_refused():
    await refused("P-256 or P-384", "secp521r1", key=ec.generate_private_key(ec.SECP521R1()))


async def test_a_key_of_another_kind_is_refused():
    await refused("Ed25519", key=ed448.Ed448PrivateKey.generate())


@pytest.mark.parametrize("body", ["", "AAAA\n", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"])
@pytest.mark.parametrize("label", ["PUBLIC KEY", "CERTIFICATE", "EC PRIVATE KEY", "NONSENSE"])
async def test_what_is_no_public_key_is_refused(label, body):
    await refused("public_key_pem", public_key_pem=f"-----BEGIN {label}-----\n{body}-----END {label}-----\n")


@pytest.mark.parametrize(
    "profile", [profile for profile, rules in PROFILES.items() if KeyType.X25519 not in rules.key_usage]
)
async def test_a_key_that_only_agrees_is_for_key_management_and_mail_alone(profile):
    authority, root, issuer = await hierarchy()
    by = {Profile.ROOT: None, Profile.INTERMEDIATE: root.certificate_id}.get(profile, issuer.certificate_id)

    answer = await authority.ask(request(profile, private_key(Algorithm.X25519), issuer_id=by, key_id=str(new_id())))

    assert isinstance(answer, Rejection)
    assert "x25519" in answer.message


async def test_a_key_that_only_signs_is_not_for_key_management():
    authority, _, issuer = await hierarchy()
    key = private_key(Algorithm.ED25519)

    answer = await authority.ask(request(Profile.PIV_KEY_MANAGEMENT, key, issuer_id=issuer.certificate_id))

    assert isinstance(answer, Rejection)
    assert "rsa, ec, x25519" in answer.message


async def test_nobody_but_a_root_is_issued_a_certificate_for_its_issuers_key():
    authority, root, _ = await hierarchy()

    answer = await authority.ask(request(Profile.PIV_AUTHENTICATION, P256, issuer_id=root.certificate_id))

    assert isinstance(answer, Rejection)
    assert "issuer's own" in answer.message


def csr(key, algorithm=None):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "not looked at")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm)


def as_pem(request):
    return request.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.EC_P256, Algorithm.EC_P384, Algorithm.ED25519])
async def test_the_key_may_come_in_a_csr(algorithm):
    key = private_key(algorithm)
    digest = None if algorithm is Algorithm.ED25519 else hashes.SHA256()

    root = await Authority().root(key, csr_pem=as_pem(csr(key, digest)))

    assert parsed(root).public_key() == key.public_key()
    assert parsed(root).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "root"


async def test_a_csr_whose_signature_is_wrong_is_refused():
    good = csr(P256, hashes.SHA256())
    of_another = good.public_bytes(Encoding.DER).replace(
        P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        OTHER.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    )

    await refused("does not verify", csr_pem=as_pem(x509.load_der_x509_csr(of_another)))


async def test_what_is_no_csr_is_refused():
    await refused("csr_pem", csr_pem=public_pem(P256))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda created: sign(OTHER, created.signature_algorithm, created.tbs),
        lambda created: sign(P256, created.signature_algorithm, created.tbs + b"\x00"),
        lambda created: P256.sign(created.tbs, ec.ECDSA(hashes.SHA384())),
        lambda created: sign(P256, created.signature_algorithm, created.tbs) + b"\x00",
        lambda created: private_key(Algorithm.RSA_2048).sign(created.tbs, padding.PKCS1v15(), hashes.SHA256()),
        lambda _: b"\x00",
    ],
)
async def test_a_wrong_signature_is_refused_and_a_right_one_is_taken_afterwards(wrong):
    authority = Authority()
    created = await authority.ask(request(Profile.ROOT, P256, key_id=str(new_id())))

    answer = await authority.ask(SignCertificate(certificate_id=created.certificate_id, signature=wrong(created)))

    assert isinstance(answer, Rejection)
    assert (answer.code, "issuer's public key" in answer.message) == (RejectionCode.INVALID, True)
    right = sign(P256, created.signature_algorithm, created.tbs)
    signed = await authority.ask(SignCertificate(certificate_id=created.certificate_id, signature=right))
    assert isinstance(signed, CertificateSigned)


letters = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
names = st.builds(
    DistinguishedName,
    common_name=letters.filter(lambda text: len(text.encode()) <= 64),
    organization=st.none() | letters,
    organizational_unit=st.none() | letters,
    country=st.none() | st.from_regex(r"[A-Z]{2}", fullmatch=True),
)


@given(names, names, st.sampled_from([profile for profile in LEAVES if profile is not Profile.TLS_SERVER]))
@settings(max_examples=50, deadline=None)
async def test_the_issuers_name_is_byte_for_byte_its_subject(root_name, intermediate_name, profile):
    authority = Authority()
    root = await authority.root(P256, subject=root_name)
    issuer = await authority.intermediate(OTHER, root, P256, subject=intermediate_name)
    leaf = await authority.issue(request(profile, HOLDER, issuer_id=issuer.certificate_id), OTHER)

    for signed, by in ((root, root), (issuer, root), (leaf, issuer)):
        assert parsed(signed).issuer.public_bytes() == parsed(by).subject.public_bytes()
        assert parsed(by).subject.public_bytes() in parsed(signed).tbs_certificate_bytes


@given(
    root_days=st.integers(1, PROFILES[Profile.ROOT].max_validity_days),
    days=st.integers(1, PROFILES[Profile.PIV_AUTHENTICATION].max_validity_days),
    later=st.timedeltas(timedelta(0), timedelta(days=9200)),
)
@settings(max_examples=100, deadline=None)
async def test_no_certificate_outlives_its_issuer(root_days, days, later):
    authority = Authority()
    root = await authority.root(P256, validity_days=root_days)

    wish = request(Profile.PIV_AUTHENTICATION, HOLDER, issuer_id=root.certificate_id, validity_days=days)
    answer = await authority.ask(wish, NOON + later)

    if isinstance(answer, CertificateCreated):
        assert root.not_before <= answer.not_before < answer.not_after <= root.not_after
        assert answer.not_before <= NOON + later
    else:
        assert later + timedelta(days=days) > timedelta(days=root_days)


async def test_serials_are_random_and_never_the_same():
    authority = Authority()
    wishes = [request(Profile.ROOT, P256, key_id=str(new_id())) for _ in range(300)]

    serials = [int((await authority.ask(wish)).serial, 16) for wish in wishes]

    assert len(set(serials)) == len(serials)
    assert all(0 < serial <= 1 << 127 for serial in serials)
    assert min(serials).bit_length() > 64
    assert reduce(lambda seen, serial: seen | serial, serials).bit_length() == 127
    assert sum(after > before for before, after in pairwise(serials)) < 200
