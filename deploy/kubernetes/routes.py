"""What the servers of a NATS cluster know each other by: an authority of their own, and one certificate for all three.

Servers are each other's clients, so it is for both; a certificate of the profile tls-server is not.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVERS = tuple(f"nats-{number}.nats-headless" for number in range(3))
_AUTHORITY, _CERTIFICATE = timedelta(days=3650), timedelta(days=365)
_SKEW = timedelta(minutes=5)
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routes of NATS")])


def write_routes(directory: Path) -> None:
    """A new certificate in *directory* from the authority that is there, which is drawn if there is none."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = _authority(directory)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in SERVERS])
    certificate = (
        _signed_for(key.public_key(), now + _CERTIFICATE)
        .add_extension(usages, critical=False)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .subject_name(x509.Name([]))
        .sign(authority, hashes.SHA256())
    )
    write_private(directory / "routes.key", _pem(key))
    write_private(directory / "routes.pem", certificate.public_bytes(Encoding.PEM))


def _authority(directory: Path) -> ec.EllipticCurvePrivateKey:
    path = directory / "routes-ca.key"
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{path} is not the key that was drawn here")
        return key
    drawn = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _signed_for(drawn.public_key(), datetime.now(UTC) + _AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .subject_name(_NAME)
        .sign(drawn, hashes.SHA256())
    )
    write_private(directory / "routes-ca.pem", certificate.public_bytes(Encoding.PEM))
    write_private(path, _pem(drawn))
    return drawn


def _signed_for(key: ec.EllipticCurvePublicKey, until: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer_name=_NAME, public_key=key, serial_number=x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.not_valid_before(datetime.now(UTC) - _SKEW).not_valid_after(until)


def _signs_certificates() -> x509.KeyUsage:
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = dict.fromkeys((*uses, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, **others)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner only."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.rename(path)
