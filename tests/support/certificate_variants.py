"""Certificates that conform except for a test's changes."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN, DAY = datetime(2026, 11, 21, tzinfo=UTC), timedelta(days=1)
CA_KEY, LEAF_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SERIAL = 0x5F3A_9C21_7B44_0E8D_92C6_1D3F_58AB_7E01
USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]


def name(**attributes):
    return x509.Name([x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in attributes.items()])


def key_usage(*bits):
    return x509.KeyUsage(**{usage: usage in bits for usage in USAGES})


def identifier(key):
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


ROOT_NAME = name(COMMON_NAME="Root")
OF_ROOT = {
    "basic": (x509.BasicConstraints(ca=True, path_length=1), True),
    "usage": (key_usage("key_cert_sign", "crl_sign"), True),
    "ski": (identifier(CA_KEY), False),
    "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key()), False),
}
OF_LEAF = {
    "basic": (x509.BasicConstraints(ca=False, path_length=None), True),
    "usage": (key_usage("digital_signature"), True),
    "ski": (identifier(LEAF_KEY), False),
    "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key()), False),
    "eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    "san": (x509.SubjectAlternativeName([x509.DNSName("www.example.org")]), False),
}


def _build(extensions, key, **changes):
    fields = {"serial": SERIAL, "subject": name(COMMON_NAME="www.example.org"), "issuer": ROOT_NAME}
    fields |= {"begin": BEGIN, "end": BEGIN + 90 * DAY} | changes
    builder = (
        x509.CertificateBuilder()
        .serial_number(fields["serial"])
        .subject_name(fields["subject"])
        .issuer_name(fields["issuer"])
        .not_valid_before(fields["begin"])
        .not_valid_after(fields["end"])
        .public_key(key.public_key())
    )
    for value, critical in extensions.values():
        builder = builder.add_extension(value, critical)
    return builder.sign(CA_KEY, hashes.SHA256())


def root(extensions=None, **changes):
    return _build(extensions or OF_ROOT, CA_KEY, **{"subject": ROOT_NAME, "end": BEGIN + 3650 * DAY} | changes)


def leaf(key=LEAF_KEY, without=(), **changes):
    replaced = {name for name in changes if name not in ("serial", "subject", "issuer", "begin", "end")}
    extensions = {name: value for name, value in OF_LEAF.items() if name not in without}
    extensions |= {name: changes.pop(name) for name in replaced}
    if "ski" not in without:
        extensions["ski"] = (identifier(key), False)
    return _build(extensions, key, **changes)


ROOT = root()
