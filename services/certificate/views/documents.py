"""Documents of KEYS_VIEWS as functions of the log: certificates, CRLs, OCSP responses and trust bundles. Pure.

Deleted views are therefore rebuilt byte for byte (ADR 0009, ADR 0016).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import JsonValue
from pydantic_core import to_json

from services.certificate.names.x509_names import describe_general_name
from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateHeld,
    CertificateImported,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
    CertificateSuperseded,
    CrlPublished,
)
from shared.contracts.certificate.ocsp import OcspPublished
from shared.contracts.certificate.trust_bundle import TrustBundlePublished
from shared.contracts.certificate.value_types import Profile

IssuanceEvent = CertificateSigned | CertificateImported
StatusEvent = CertificateHeld | CertificateReleased | CertificateRevoked | CertificateSuperseded | CertificateExpired
PublicationEvent = CrlPublished | OcspPublished | TrustBundlePublished
_CA_PROFILES = frozenset({Profile.ROOT, Profile.INTERMEDIATE})


@dataclass(frozen=True, slots=True)
class View:
    """A document and the sequence of its event. A document with a higher sequence replaces it."""

    key: str
    value: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a certificate with its sequence and its time in the log."""

    event: IssuanceEvent | StatusEvent
    sequence: int
    at: datetime


def certificate_views(history: Sequence[StoredEvent]) -> tuple[View, ...]:
    """Returns the documents of a certificate from its *history* in log order; none if it was never issued."""
    issuances = [each.event for each in history if isinstance(each.event, CertificateSigned | CertificateImported)]
    if not issuances:
        return ()
    sequence, issuance = history[-1].sequence, issuances[-1]
    document = to_json({**_content(issuance), **_status(history), "sequence": sequence})
    keys = [f"certificate.{issuance.certificate_id}"]
    if issuance.issuer_id is not None:
        keys.append(f"issued.{issuance.issuer_id}.{issuance.serial}")
    return tuple(View(key, document, sequence) for key in keys)


def issuer_views(event: IssuanceEvent, sequence: int) -> tuple[View, ...]:
    """Returns the permanent documents of a CA or OCSP responder.

    Relying parties need the certificate of a revoked CA to see that it is revoked.
    """
    if event.profile in _CA_PROFILES:
        encoded = _certificate(event).public_bytes(Encoding.DER)
        return (View(f"ca.{event.certificate_id}", encoded, sequence),)
    if event.profile is Profile.OCSP_RESPONDER and event.issuer_id is not None and event.key_id is not None:
        return (View(f"responder.{event.issuer_id}.{event.certificate_id}", event.certificate_id.encode(), sequence),)
    return ()


def publication_views(event: PublicationEvent, sequence: int) -> tuple[View, ...]:
    """Returns the documents of a published CRL, batch of OCSP responses or trust bundle."""
    match event:
        case CrlPublished():
            crl = x509.load_pem_x509_crl(event.crl_pem.encode()).public_bytes(Encoding.DER)
            return (View(f"crl.{event.certificate_id}", crl, sequence),)
        case OcspPublished():
            responses = {f"ocsp.{each.issuer_key_hash}.{each.serial}": each.response for each in event.answers}
            return tuple(View(key, response, sequence) for key, response in responses.items())
        case TrustBundlePublished():
            pem = "".join(f"{certificate.strip()}\n" for certificate in event.certificates_pem)
            return (View(f"bundle.{event.bundle_id}", pem.encode(), sequence),)
        case _:
            assert_never(event)


def _certificate(event: IssuanceEvent) -> x509.Certificate:
    return x509.load_pem_x509_certificate(event.certificate_pem.encode())


def _content(event: IssuanceEvent) -> Mapping[str, JsonValue]:
    certificate = _certificate(event)
    return {
        "certificate_id": event.certificate_id,
        "profile": event.profile,
        "serial": event.serial,
        "issuer_id": event.issuer_id,
        "key_id": event.key_id,
        "subject": certificate.subject.rfc4514_string(),
        "sans": [*_sans(certificate)],
        "fingerprint_sha256": event.fingerprint_sha256,
        "not_before": _time(certificate.not_valid_before_utc),
        "not_after": _time(certificate.not_valid_after_utc),
    }


def _sans(certificate: x509.Certificate) -> Iterator[JsonValue]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # an imported certificate may have malformed names
        return
    for name in names:
        yield {**describe_general_name(name)}


def _status(history: Sequence[StoredEvent]) -> Mapping[str, JsonValue]:
    """Returns the most severe status: revoked, expired, held, superseded, issued.

    A hold that becomes a revocation keeps the date of the hold, as in CRLs (X.509, 9.5.3.1).
    """
    status: Mapping[str, JsonValue] = {"status": "issued"}
    held: StoredEvent | None = None
    expired = False
    for stored in history:
        match stored.event:
            case CertificateRevoked(reason=reason):
                return {"status": "revoked", "revoked_at": _time((held or stored).at), "reason": reason}
            case CertificateHeld():
                held = stored
            case CertificateReleased():
                held = None
            case CertificateExpired():
                expired = True
            case CertificateSuperseded(successor_id=successor_id):
                status = {"status": "superseded", "successor_id": successor_id}
            case CertificateSigned() | CertificateImported():
                pass
            case _:
                assert_never(stored.event)
    if expired:
        return {"status": "expired"}
    return {"status": "held"} if held else status


def _time(instant: datetime) -> str:
    """Formats an instant to the second, the precision of X.509."""
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
