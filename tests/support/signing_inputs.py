"""TBS bytes for custodians, made with cryptography: X.509 certificates, CRLs, OCSP responses, SSH certificates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.x509 import ocsp

NOW = datetime(2026, 11, 21, tzinfo=UTC)
YEAR = timedelta(days=365)


@lru_cache
def key(which: Any = 0) -> ec.EllipticCurvePrivateKey:  # noqa: ARG001 - it is the key of the cache
    """Returns the same P-256 key for the same argument."""
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str, *more: x509.NameAttribute[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name), *more])


def identifier(public: Any) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(public).digest


def usage(*usages: str) -> x509.KeyUsage:
    every = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    return x509.KeyUsage(**{each: each in usages for each in f"{every} crl_sign encipher_only decipher_only".split()})


def extension(content: x509.ExtensionType, *, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    return content, critical


@dataclass(frozen=True)
class Certificate:
    """A builder of a TBSCertificate; *aki* empty: no extension. *extensions* follow the usual ones."""

    subject: x509.Name
    issuer: x509.Name
    public: Any
    aki: bytes = b""
    ca: bool = False
    path_length: int | None = None
    basic_critical: bool = True
    usages: tuple[str, ...] = ("digital_signature",)
    begins: datetime = NOW
    ends: datetime = NOW + YEAR
    serial: int = 4711
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    def but(self, **changes: Any) -> Certificate:
        return replace(self, **changes)

    def builder(self) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.issuer)
            .public_key(self.public)
            .serial_number(self.serial)
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
            .add_extension(x509.BasicConstraints(self.ca, self.path_length), self.basic_critical)
            .add_extension(x509.SubjectKeyIdentifier(identifier(self.public)), critical=False)
        )
        if self.usages:
            builder = builder.add_extension(usage(*self.usages), critical=True)
        if self.aki:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier(self.aki, None, None), critical=False)
        for content, critical in self.extensions:
            builder = builder.add_extension(content, critical)
        return builder

    def finished(self, signer: Any = None) -> x509.Certificate:
        signer = signer or key("stand-in")
        return self.builder().sign(signer, _digest(signer))

    def tbs(self, signer: Any = None) -> bytes:
        """Returns the TBS bytes; *signer* determines the algorithm."""
        return self.finished(signer).tbs_certificate_bytes


def root(public: Any, common_name: str = "Root", **changes: Any) -> Certificate:
    usages = ("key_cert_sign", "crl_sign")
    own = Certificate(name(common_name), name(common_name), public, identifier(public), ca=True, usages=usages)
    return own.but(ends=NOW + 10 * YEAR, **changes)


def below(issuer: Certificate, public: Any, common_name: str = "leaf", **changes: Any) -> Certificate:
    plain = Certificate(name(common_name), issuer.subject, public, identifier(issuer.public))
    return plain.but(**changes)


def authority_below(issuer: Certificate, public: Any, common_name: str = "Issuing", **changes: Any) -> Certificate:
    defaults = {"ca": True, "path_length": 0, "usages": ("key_cert_sign", "crl_sign"), "ends": NOW + 5 * YEAR}
    return below(issuer, public, common_name, **(defaults | changes))


def crl(issuer: Certificate, **changes: Any) -> bytes:
    """Returns a TBSCertList. *changes*: begins, ends, extensions (replace the usual two), entry (its extension)."""
    begins = changes.get("begins", NOW)
    usual = (
        extension(x509.AuthorityKeyIdentifier(identifier(issuer.public), None, None)),
        extension(x509.CRLNumber(1)),
    )
    entry = x509.RevokedCertificateBuilder().serial_number(4711).revocation_date(NOW)
    content, critical = changes.get("entry", extension(x509.CRLReason(x509.ReasonFlags.key_compromise)))
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(begins)
        .next_update(changes.get("ends", begins + timedelta(days=7)))
        .add_revoked_certificate(entry.add_extension(content, critical).build())
    )
    for content, critical in changes.get("extensions", usual):
        builder = builder.add_extension(content, critical)
    signer = changes.get("signer") or key("stand-in")
    return builder.sign(signer, _digest(signer)).tbs_certlist_bytes


def response_data(responder: Any, **changes: Any) -> bytes:
    """Builds a ResponseData with status good by *responder*, a public key."""
    signer = key("stand-in")
    issuer = root(key("status issuer").public_key())
    own = below(issuer, signer.public_key(), "responder").finished()
    builder = ocsp.OCSPResponseBuilder().add_response(
        below(issuer, key("status subject").public_key()).finished(),
        issuer.finished(),
        hashes.SHA256(),
        ocsp.OCSPCertStatus.GOOD,
        NOW,
        changes.get("ends", NOW + timedelta(days=7)),
        None,
        None,
    )
    builder = builder.responder_id(changes.get("by", ocsp.OCSPResponderEncoding.HASH), own)
    for content, critical in changes.get("extensions", ()):
        builder = builder.add_extension(content, critical)
    tbs = builder.sign(signer, hashes.SHA256()).tbs_response_bytes
    return tbs.replace(identifier(signer.public_key()), identifier(responder))


def _digest(signer: Any) -> hashes.SHA256 | None:
    return None if isinstance(signer, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey) else hashes.SHA256()
