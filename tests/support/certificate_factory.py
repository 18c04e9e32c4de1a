"""Certificates and CRLs for path validation: conforming ones, except for a test's changes."""

import itertools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

BEGIN, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
_serials = itertools.count(1000)


def name(common_name, **more):
    attributes = [x509.NameAttribute(getattr(NameOID, oid.upper()), value) for oid, value in more.items()]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*bits):
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in bits for bit in every})


class Party:
    """A key with its certificate; *extensions* are added, or replace those of the same type."""

    def __init__(
        self,
        subject,
        issuer=None,
        *,
        key=None,
        ca=True,
        path_length=None,
        sans=(),
        extensions=(),
        without=(),
        begin=BEGIN,
        end=END,
        padding=None,
    ):
        self.name = name(subject) if isinstance(subject, str) else subject
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        signer = issuer or self
        defaults = [
            (x509.BasicConstraints(ca=ca, path_length=path_length), True),
            (key_usage("key_cert_sign", "crl_sign") if ca else key_usage("digital_signature"), True),
            (x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), False),
        ]
        if sans:
            defaults.append((x509.SubjectAlternativeName(sans), False))
        replaced = {type(extension) for extension, _ in extensions} | set(without)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .serial_number(next(_serials))
            .public_key(self.key.public_key())
            .not_valid_before(begin)
            .not_valid_after(end)
        )
        for extension, critical in [*(each for each in defaults if type(each[0]) not in replaced), *extensions]:
            builder = builder.add_extension(extension, critical)
        digest = hashes.SHA256() if isinstance(signer.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else None
        self.certificate = builder.sign(signer.key, digest, rsa_padding=padding)
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def crl(self, *revoked, reason=None, extensions=(), begin=BEGIN, end=END, key=None):
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(begin).next_update(end)
        for each in revoked:
            entry = (
                x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(begin)
            )
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extensions or [(x509.CRLNumber(1), False)]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def later(**time):
    return BEGIN + timedelta(**time)
