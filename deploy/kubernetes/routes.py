"""Mutual TLS between the servers of a NATS cluster: a CA of their own and one certificate for all three.

Servers are each other's clients: the certificate has both extended key usages, unlike one of the profile tls-server.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.atomic_files import write_atomically

SERVERS = tuple(f"nats-{number}.nats-headless" for number in range(3))
_CA_VALIDITY, _CERTIFICATE_VALIDITY = timedelta(days=3650), timedelta(days=365)
_SKEW = timedelta(minutes=5)
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routes of NATS")])


def write_routes(directory: Path) -> None:
    """Issues a new certificate in *directory*, after creating a missing CA."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key = _load_or_create_ca(directory)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in SERVERS])
    certificate = (
        _builder(key.public_key(), now + _CERTIFICATE_VALIDITY)
        .add_extension(usages, critical=False)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .subject_name(x509.Name([]))
        .sign(ca_key, hashes.SHA256())
    )
    write_atomically(directory / "routes.key", _pem(key))
    write_atomically(directory / "routes.pem", certificate.public_bytes(Encoding.PEM))


def _load_or_create_ca(directory: Path) -> ec.EllipticCurvePrivateKey:
    path = directory / "routes-ca.key"
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{path} is not an EC private key: remove it to create a new CA")
        return key
    ca_key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(ca_key.public_key(), datetime.now(UTC) + _CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_key_usage(), critical=True)
        .subject_name(_NAME)
        .sign(ca_key, hashes.SHA256())
    )
    write_atomically(directory / "routes-ca.pem", certificate.public_bytes(Encoding.PEM))
    write_atomically(path, _pem(ca_key))
    return ca_key


def _builder(key: ec.EllipticCurvePublicKey, until: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer_name=_NAME, public_key=key, serial_number=x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.not_valid_before(datetime.now(UTC) - _SKEW).not_valid_after(until)


def _ca_key_usage() -> x509.KeyUsage:
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = dict.fromkeys((*uses, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, **others)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
