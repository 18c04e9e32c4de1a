"""Linting before the signature: one deliberate defect a rule."""

from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from services.certificate.linting import lints
from tests.support.certificate_variants import BEGIN, CA_KEY, DAY, OF_ROOT, ROOT, key_usage, leaf, name, root


def _points_to(uri):
    full_name = [x509.UniformResourceIdentifier(uri)]
    return x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)]), False


def _san(*names, critical=False):
    return x509.SubjectAlternativeName(names), critical


def _eku(*purposes):
    return x509.ExtendedKeyUsage(purposes), False


NO_REV_AVAIL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"), False)
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
CONSTRAINTS = (x509.NameConstraints([x509.DNSName("example.org")], None), True)
RESPONDER = {"eku": _eku(Usage.OCSP_SIGNING), "nocheck": (x509.OCSPNoCheck(), False)}
AUTHORITY = {"basic": (x509.BasicConstraints(ca=True, path_length=0), True), "usage": OF_ROOT["usage"]}


def test_what_is_right_is_let_pass():
    assert lints.lint(ROOT, None) == []
    assert lints.lint(leaf(), ROOT) == []
    assert lints.lint(leaf(**RESPONDER), ROOT) == []
    assert lints.lint(leaf(**AUTHORITY, nc=CONSTRAINTS, without=("eku", "san")), ROOT) == []
    assert lints.lint(leaf(san=_san(x509.DNSName("*.example.org"), x509.IPAddress(ip_address("::1")))), ROOT) == []
    assert lints.lint(leaf(cdp=_points_to("http://ca.example.org/crl/1.crl")), ROOT) == []
    assert lints.lint(leaf(none=NO_REV_AVAIL), ROOT) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serial": 1}, "64 random ones are required"),
        ({"serial": 2**63 - 1}, "64 random ones are required"),
        ({"end": BEGIN + 4000 * DAY}, "outlives its issuer"),
        ({"begin": BEGIN - DAY}, "begins before its issuer"),
        ({"without": ("basic",)}, "no basicConstraints"),
        ({"basic": (x509.BasicConstraints(ca=False, path_length=None), False)}, "not critical"),
        ({"basic": (x509.BasicConstraints(ca=True, path_length=1), True), "usage": OF_ROOT["usage"]}, "path length"),
        ({"basic": (x509.BasicConstraints(ca=True, path_length=None), True)}, "path length"),
        ({"without": ("usage",)}, "no keyUsage"),
        ({"usage": (key_usage("digital_signature"), False)}, "keyUsage is not critical"),
        ({"usage": (key_usage("digital_signature", "key_cert_sign"), True)}, "keyCertSign"),
        ({"usage": (key_usage("digital_signature", "crl_sign"), True)}, "cRLSign"),
        ({"usage": (key_usage("digital_signature", "key_encipherment"), True)}, "key_encipherment"),
        ({"key": ed25519.Ed25519PrivateKey.generate(), "usage": (key_usage("key_agreement"), True)}, "key_agreement"),
        ({"key": rsa.generate_private_key(65537, 2048), "usage": (key_usage("key_agreement"), True)}, "key_agreement"),
        ({"without": ("ski",)}, "no subjectKeyIdentifier"),
        ({"without": ("aki",)}, "no authorityKeyIdentifier"),
        ({"aki": (x509.AuthorityKeyIdentifier(b"\1" * 20, None, None), False)}, "not its issuer's"),
        ({"issuer": name(COMMON_NAME="root")}, "octet for octet"),
        ({"key": CA_KEY}, "issuer's own"),
        ({"none": NO_REV_AVAIL, "cdp": _points_to("http://ca.example.org/1.crl")}, "RFC 9608"),
        ({"none": NO_REV_AVAIL, **AUTHORITY}, "not for CA certificates"),
        ({"eku": _eku(Usage.ANY_EXTENDED_KEY_USAGE)}, "anyExtendedKeyUsage"),
        ({"eku": _eku(Usage.OCSP_SIGNING)}, "nocheck"),
        ({"nocheck": (x509.OCSPNoCheck(), False)}, "nocheck"),
        (
            {"eku": _eku(Usage.OCSP_SIGNING, Usage.SERVER_AUTH), "nocheck": (x509.OCSPNoCheck(), False)},
            "no other extended key usage",
        ),
        ({"eku": _eku(Usage.CODE_SIGNING), **AUTHORITY}, "neither codeSigning nor OCSPSigning"),
        ({"cdp": _points_to("https://ca.example.org/1.crl")}, "http://"),
        ({"cdp": _points_to("ldap://ca.example.org/cn=ca")}, "http://"),
        ({"nc": CONSTRAINTS}, "name constraints are for CA certificates only"),
        ({"nc": (CONSTRAINTS[0], False), **AUTHORITY}, "and must be critical"),
        ({"unknown": UNKNOWN}, "1.2.3.4 must not be critical"),
        ({"subject": name(COMMON_NAME="a", EMAIL_ADDRESS="a@example.org")}, "e-mail address"),
        ({"subject": name(COMMON_NAME="alice ")}, "blank"),
        ({"subject": x509.Name([])}, "without a subject"),
        ({"san": _san(x509.DNSName("www.example.org"), critical=True)}, "must not be critical"),
        ({"san": _san(x509.DNSName("a.example.org"), x509.DNSName("a.example.org"))}, "twice"),
        ({"san": _san(x509.DNSName("a.example.org"), x509.DNSName("A.example.org"))}, "twice"),
        ({"san": _san(x509.DNSName("a_b.example.org"))}, "no host name"),
        ({"san": _san(x509.DNSName("www.*.example.org"))}, "no host name"),
        ({"san": _san(x509.DNSName("example.org."))}, "no host name"),
        ({"san": _san(x509.DNSName("*.org"))}, "top-level"),
        ({"san": _san(x509.DNSName("192.0.2.1"))}, "among the IP addresses"),
        ({"san": _san(x509.RFC822Name("a@example.org"))}, "neither a host nor an address"),
        ({"eku": _eku(Usage.SMARTCARD_LOGON)}, "UPN"),
    ],
)
def test_a_mistake_is_named(changes, words):
    assert any(words in problem for problem in lints.lint(leaf(**changes), ROOT))


def test_a_root_that_points_to_its_own_revocation_is_named():
    made = root({**OF_ROOT, "cdp": _points_to("http://ca.example.org/1.crl")})

    assert lints.lint(made, None) == [
        "a root must have no URLs of CRLs, OCSP or an issuer: no CA above it can revoke it"
    ]
