"""What is remembered of what has happened to a certificate. Pure."""

import base64
from dataclasses import replace
from typing import assert_never

from services.certificate.crl import domain
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate import events as told


def evolve(certificate: Certificate, event: told.CertificateEvent) -> Certificate:
    """*certificate* is what `decide` leads to; in a history that it does not lead to, an event changes nothing."""
    match event:
        case told.CertificateCreated():
            return _created(event)
        case told.CertificateSigned():
            return _signed(certificate, event) if isinstance(certificate, Created) else certificate
        case told.CertificateImported():
            return _imported(event)
        case told.CertificateRevoked():
            return _revoked(certificate, event)
        case told.CrlCreated() | told.CrlPublished():
            return domain.evolve(certificate, event)
        case _:
            return _changed(certificate, event) if isinstance(certificate, Issued) else certificate


def _changed(certificate: Issued, event: told.CertificateEvent) -> Issued:
    match event:
        case told.CertificateHeld():
            return replace(certificate, held=True)
        case told.CertificateReleased():
            return replace(certificate, held=False)
        case told.CertificateSuperseded(successor_id=successor_id):
            return replace(certificate, superseded_by=successor_id)
        case told.CertificateExpiring():
            return replace(certificate, announced=True)
        case told.CertificateExpired():
            return replace(certificate, expired=True)
        case _:
            return certificate  # it was asked about, or has said something of those it issued


def _created(event: told.CertificateCreated) -> Created:
    return Created(
        base64.b64encode(event.tbs).decode(),
        event.profile,
        event.signature_algorithm,
        event.issuer_id,
        event.issuer_public_key_pem,
        event.serial,
        event.key_id,
        event.signing_key_id,
        event.not_before,
        event.not_after,
        event.predecessor_id if isinstance(event, told.CertificateRenewed) else None,
    )


def _signed(created: Created, event: told.CertificateSigned) -> Issued:
    return Issued(
        event.profile,
        event.certificate_pem,
        event.serial,
        event.issuer_id,
        created.key_id,
        created.signing_key_id,
        event.not_before,
        event.not_after,
        event.expiring_at,
        event.renewal,
        event.ocsp,
        predecessor_id=created.predecessor_id,
    )


def _imported(event: told.CertificateImported) -> Issued:
    return Issued(
        event.profile,
        event.certificate_pem,
        event.serial,
        event.issuer_id,
        event.key_id,
        None,
        event.not_before,
        event.not_after,
        event.expiring_at,
        ocsp=event.ocsp,
    )


def _revoked(certificate: Certificate, event: told.CertificateRevoked) -> Revoked:
    said = Revoked(event.serial, event.existed, event.reason, invalidity_date=event.invalidity_date)
    match certificate:
        case Created() | Issued():
            said = replace(
                said,
                profile=certificate.profile,
                issuer_id=certificate.issuer_id,
                key_id=certificate.key_id,
                not_before=certificate.not_before,
                not_after=certificate.not_after,
            )
        case Unborn() | Revoked():
            pass
        case _:
            assert_never(certificate)
    if isinstance(certificate, Issued):
        pem, by = certificate.certificate_pem, certificate.superseded_by
        return replace(said, certificate_pem=pem, ocsp=certificate.ocsp, superseded_by=by)
    return said
