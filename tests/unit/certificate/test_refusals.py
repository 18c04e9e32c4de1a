"""Deliberate mistakes in a request: each rejection names the mistake."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.contracts.certificate.commands import CheckIssuance
from shared.contracts.certificate.events import CertificateCreated, IssuanceChecked
from shared.contracts.certificate.value_types import DistinguishedName, NameConstraints, Profile, SanKind
from shared.contracts.key.value_types import Algorithm
from shared.decider import Rejection
from shared.messages.ids import new_id
from tests.support.in_memory_ca import Authority, private_key, request, san

ROOT_KEY, CA_KEY, HOLDER = (private_key(Algorithm.EC_P256, n) for n in range(3))


def csr(key=HOLDER):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.example.net")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("evil.example.net")]), critical=False)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )


def pem(encoded):
    label, body = "CERTIFICATE REQUEST-----\n", base64.b64encode(encoded).decode()
    return f"-----BEGIN {label}{body}\n-----END {label}"


GOOD = csr().public_bytes(Encoding.DER)
SPOILT = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
WEAK = csr(rsa.generate_private_key(65537, 1024)).public_bytes(Encoding.DER)  # noqa: S505 - it is to be refused
STRANGE = csr(ec.generate_private_key(ec.SECP521R1())).public_bytes(Encoding.DER)
NOTHING = NameConstraints()

NAMES_MISTAKEN = [
    (Profile.TLS_SERVER, {"sans": ()}, ["dns or ip"]),
    (Profile.TLS_SERVER, {"sans": (san("a.example.org"),)}, ["common_name", "www.example.org"]),
    (
        Profile.TLS_SERVER,
        {"sans": (san("www.example.org"), san("a@example.org", SanKind.EMAIL))},
        ["email", "dns or ip"],
    ),
    (Profile.TLS_SERVER, {"sans": (san("www.*.example.org"), san("www.example.org"))}, ["not a host name"]),
    (Profile.TLS_SERVER, {"sans": (san("w*.example.org"), san("www.example.org"))}, ["not a host name"]),
    (Profile.TLS_SERVER, {"sans": (san("*.org"), san("www.example.org"))}, ["wildcard"]),
    (Profile.TLS_SERVER, {"sans": (san("*.*.example.org"), san("www.example.org"))}, ["wildcard"]),
    (Profile.TLS_SERVER, {"sans": (san("www.example.org"), san("192.0.2.0/24", SanKind.IP))}, ["address"]),
    (Profile.TLS_CLIENT, {"sans": (san("*.example.org"),)}, ["wildcard", "tls-server"]),
    (Profile.EMAIL, {"sans": ()}, ["must name email"]),
    (Profile.EMAIL, {"sans": (san("www.example.org"),)}, ["dns", "email"]),
    (Profile.PIV_AUTHENTICATION, {"sans": (san("alice", SanKind.UPN),)}, ["account", "user@domain"]),
    (Profile.CODE_SIGNING, {"sans": (san("192.0.2.1", SanKind.IP),)}, ["ip", "code-signing"]),
    (Profile.OCSP_RESPONDER, {"sans": (san("a@example.org", SanKind.EMAIL),)}, ["email", "ocsp-responder"]),
]
MISTAKES = [
    *NAMES_MISTAKEN,
    (Profile.TLS_SERVER, {"validity_days": 398}, ["397"]),
    (Profile.OCSP_RESPONDER, {"validity_days": 91}, ["90"]),
    (Profile.TLS_CLIENT, {"path_length": 0}, ["only CA certificates"]),
    (Profile.TLS_CLIENT, {"name_constraints": NameConstraints(permitted_dns=("a.example",))}, ["only CA certificates"]),
    (Profile.INTERMEDIATE, {"name_constraints": NOTHING}, ["constrain nothing"]),
    (Profile.INTERMEDIATE, {"name_constraints": NameConstraints(permitted_dns=("*.a.example",))}, ["*.a.example"]),
    (Profile.INTERMEDIATE, {"name_constraints": NameConstraints(permitted_ip=("192.0.2.1",))}, ["networks"]),
    (Profile.INTERMEDIATE, {"name_constraints": NameConstraints(excluded_ip=("192.0.2.1/24",))}, ["networks"]),
    (Profile.INTERMEDIATE, {"name_constraints": NameConstraints(excluded_email=("a@b@c",))}, ["mailboxes"]),
    (Profile.INTERMEDIATE, {"path_length": 1}, ["at most 0"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(SPOILT)}, ["csr_pem", "does not verify"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(GOOD + b"\x00")}, ["csr_pem"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(GOOD) + "more\n"}, ["more in csr_pem"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(GOOD) * 2}, ["more in csr_pem"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(WEAK)}, ["2048", "1024"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(STRANGE)}, ["P-256 or P-384"]),
    (Profile.TLS_CLIENT, {"csr_pem": pem(csr(CA_KEY).public_bytes(Encoding.DER))}, ["issuer's own"]),
    (Profile.TLS_CLIENT, {"subject": DistinguishedName(common_name="日" * 22)}, ["64 bytes"]),
    (Profile.TLS_CLIENT, {"key": private_key(Algorithm.X25519)}, ["x25519", "tls-client"]),
    (Profile.CODE_SIGNING, {"key": private_key(Algorithm.RSA_2048)}, ["3072", "2048"]),
]


async def hierarchy():
    authority = Authority()
    root = await authority.root(ROOT_KEY)
    return authority, root, await authority.intermediate(CA_KEY, root, ROOT_KEY)


@pytest.mark.parametrize(("profile", "mistake", "words"), MISTAKES)
async def test_a_mistake_is_refused_with_its_reason(profile, mistake, words):
    authority, root, issuer = await hierarchy()
    by = root if profile is Profile.INTERMEDIATE else issuer
    fields = {"key": HOLDER, "issuer_id": by.certificate_id} | mistake

    answer = await authority.ask(request(profile, **fields))

    assert isinstance(answer, Rejection), answer
    for word in words:
        assert word in answer.message


@pytest.mark.parametrize(("profile", "mistake"), [(profile, mistake) for profile, mistake, _ in NAMES_MISTAKEN])
async def test_a_check_judges_names_as_the_creation_would(profile, mistake):
    authority, _, issuer = await hierarchy()
    wish = request(profile, HOLDER, issuer_id=issuer.certificate_id, **mistake)
    check = CheckIssuance(
        certificate_id=str(new_id()),
        profile=profile,
        issuer_id=issuer.certificate_id,
        algorithm=Algorithm.EC_P256,
        validity_days=30,
    )

    named = check.model_copy(update={"subject": wish.subject, "sans": wish.sans})

    assert await authority.ask(named) == await authority.ask(wish)
    assert isinstance(await authority.ask(check), IssuanceChecked)


async def test_what_a_csr_asks_for_itself_is_not_looked_at():
    authority, _, issuer = await hierarchy()
    wish = request(Profile.TLS_CLIENT, HOLDER, issuer_id=issuer.certificate_id, csr_pem=pem(GOOD))

    signed = await authority.issue(wish, CA_KEY)

    certificate = x509.load_pem_x509_certificate(signed.certificate_pem.encode())
    assert b"evil" not in certificate.tbs_certificate_bytes
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_a_server_may_be_named_by_its_address_alone():
    authority, _, issuer = await hierarchy()
    named = {"sans": (san("192.0.2.1", SanKind.IP),), "subject": DistinguishedName(common_name="192.0.2.1")}

    answer = await authority.ask(request(Profile.TLS_SERVER, HOLDER, issuer_id=issuer.certificate_id, **named))

    assert isinstance(answer, CertificateCreated)
