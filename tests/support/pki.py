"""A small PKI made with cryptography alone, and the certificate service's events about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
    CertificateSuperseded,
    CrlPublished,
)
from shared.contracts.certificate.ocsp import OcspPublished, SignedOcspAnswer
from shared.contracts.certificate.trust_bundle import TrustBundlePublished
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id

TODAY = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": TODAY - timedelta(days=1), "not_after": TODAY + timedelta(days=365)}


def pem(document):
    return document.public_bytes(Encoding.PEM).decode()


def der(document):
    return document.public_bytes(Encoding.DER)


@dataclass
class Certified:
    """A certificate, its key and its id."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    profile: Profile
    issuer: Certified | None = None
    certificate_id: str = field(default_factory=lambda: str(new_id()))

    @property
    def serial(self):
        return f"{self.certificate.serial_number:x}"

    @property
    def issuer_id(self):
        return self.issuer.certificate_id if self.issuer else None

    @property
    def signed(self):
        return CertificateSigned(
            certificate_id=self.certificate_id,
            profile=self.profile,
            certificate_pem=pem(self.certificate),
            serial=self.serial,
            fingerprint_sha256=sha256(der(self.certificate)).hexdigest(),
            issuer_id=self.issuer_id,
            **LIFE,
            key_id=str(new_id()),
        )

    def held(self):
        about = {"certificate_id": self.certificate_id, "issuer_id": self.issuer_id, "serial": self.serial}
        return CertificateHeld(**about, not_after=LIFE["not_after"])

    def released(self):
        about = {"certificate_id": self.certificate_id, "issuer_id": self.issuer_id, "serial": self.serial}
        return CertificateReleased(**about)

    def revoked(self, reason=RevocationReason.KEY_COMPROMISE):
        return CertificateRevoked(certificate_id=self.certificate_id, reason=reason, serial=self.serial)

    def superseded(self):
        return CertificateSuperseded(certificate_id=self.certificate_id, successor_id=str(new_id()))

    def expired(self):
        return CertificateExpired(certificate_id=self.certificate_id, not_after=LIFE["not_after"])


def certify(name, issuer=None, profile=Profile.TLS_SERVER, sans=()):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_ca = profile in {Profile.ROOT, Profile.INTERMEDIATE}
    builder = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number() >> 8)
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .not_valid_before(LIFE["not_before"])
        .not_valid_after(LIFE["not_after"])
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
    signing = issuer.key if issuer else key
    return Certified(builder.sign(signing, hashes.SHA256()), key, profile, issuer)


def root(name="Root"):
    return certify(name, profile=Profile.ROOT)


def crl_published(issuer, number, revoked=()):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(TODAY)
        .next_update(TODAY + timedelta(days=1))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(TODAY)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(issuer.key, hashes.SHA256())
    return CrlPublished(
        certificate_id=issuer.certificate_id,
        number=number,
        crl_pem=pem(crl),
        fingerprint_sha256=sha256(der(crl)).hexdigest(),
        this_update=TODAY,
        next_update=TODAY + timedelta(days=1),
        entries=len(revoked),
        next_at=TODAY + timedelta(hours=12),
    )


def ocsp_published(issuer, certificates, status=ocsp.OCSPCertStatus.GOOD):
    answers = [
        SignedOcspAnswer(
            serial=each.serial,
            issuer_key_hash=key_hash(issuer, digest),
            response=der(ocsp_response(issuer, each, digest, status)),
        )
        for each in certificates
        for digest in (hashes.SHA1(), hashes.SHA256())  # noqa: S303 - RFC 6960: the hash that identifies an issuer in a request
    ]
    return OcspPublished(
        batch_id=str(new_id()),
        issuer_id=issuer.certificate_id,
        responder_id=issuer.certificate_id,
        answers=tuple(answers),
        this_update=TODAY,
        next_update=TODAY + timedelta(days=1),
        everyone=False,
        more_after=None,
        next_at=TODAY + timedelta(hours=12),
    )


def key_hash(issuer, digest):
    request = ocsp.OCSPRequestBuilder().add_certificate(issuer.certificate, issuer.certificate, digest).build()
    return request.issuer_key_hash.hex()


def ocsp_response(issuer, certified, digest, status, until=TODAY + timedelta(days=1)):
    is_revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        certified.certificate,
        issuer.certificate,
        digest,
        status,
        TODAY,
        until,
        TODAY if is_revoked else None,
        x509.ReasonFlags.key_compromise if is_revoked else None,
    )
    return builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate).sign(issuer.key, hashes.SHA256())


def ocsp_request(issuer, certified, digest=None, nonce=None):
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        certified.certificate,
        issuer.certificate,
        digest or hashes.SHA1(),  # noqa: S303 - the default of every client
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return der(builder.build())


def bundle_published(*roots, version=1, bundle_id=None):
    return TrustBundlePublished(
        bundle_id=bundle_id or str(new_id()),
        organization="Acme",
        version=version,
        certificate_ids=tuple(each.certificate_id for each in roots),
        fingerprints_sha256=tuple(sha256(der(each.certificate)).hexdigest() for each in roots),
        certificates_pem=tuple(pem(each.certificate) for each in roots),
    )


async def publish_events(js, *events):
    """Publishes events to the log like the certificate service; returns their sequences."""
    sequences = []
    for event in events:
        encoded = encode_event(event, Lineage.root(new_id()), "certificate")
        sequences.append((await js.publish(encoded.subject, encoded.payload, headers=encoded.headers)).seq)
    return sequences
