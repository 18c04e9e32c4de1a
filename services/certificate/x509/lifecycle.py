"""Lifecycle of an issued certificate: hold, release, succession, revocation, expiry. Pure."""

from datetime import timedelta
from typing import assert_never

from services.certificate.x509.effects import CertificateDecision, FetchRelated
from services.certificate.x509.rejections import conflict, invalid, not_found
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import (
    AnnounceExpiry,
    ExpireCertificate,
    HoldCertificate,
    ReleaseCertificate,
    RevokeCertificate,
    SupersedeCertificate,
)
from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateExpiring,
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSuperseded,
)
from shared.decider import AlreadyDone, Context, Perform, Rejection

_CLOCK_SKEW = timedelta(minutes=1)
"""The tolerated difference between the clocks of a client or timer and of the log."""


def hold(certificate: Certificate, command: HoldCertificate, context: Context) -> CertificateDecision:
    match certificate:
        case Issued(held=True):
            return AlreadyDone()
        case Issued() if certificate.expired or context.at > certificate.not_after:
            return conflict(
                f"{command.certificate_id} expired on {certificate.not_after.isoformat()}; no hold is needed"
            )
        case Issued():
            return CertificateHeld(
                certificate_id=command.certificate_id,
                issuer_id=certificate.issuer_id,
                serial=certificate.serial,
                not_after=certificate.not_after,
                ocsp=certificate.ocsp,
            )
        case Unborn() | Created() | Revoked():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def release(certificate: Certificate, command: ReleaseCertificate) -> CertificateDecision:
    match certificate:
        case Issued(held=False):
            return AlreadyDone()
        case Issued():
            return CertificateReleased(
                certificate_id=command.certificate_id,
                issuer_id=certificate.issuer_id,
                serial=certificate.serial,
                ocsp=certificate.ocsp,
            )
        case Unborn() | Created() | Revoked():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def supersede(certificate: Certificate, command: SupersedeCertificate) -> CertificateDecision:
    match certificate:
        case Issued() if command.successor_id == command.certificate_id:
            return invalid("a certificate does not supersede itself: successor_id must be another one")
        case Issued(superseded_by=None):
            return Perform(FetchRelated(command, command.successor_id))
        case Issued(superseded_by=successor) if successor == command.successor_id:
            return AlreadyDone()
        case Issued(superseded_by=successor):
            return conflict(f"{command.certificate_id} is superseded by {successor} already")
        case Unborn() | Created() | Revoked():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def supersede_with(
    certificate: Certificate, command: SupersedeCertificate, successor: Certificate
) -> CertificateDecision:
    """Supersedes a certificate if its successor is issued."""
    if not isinstance(certificate, Issued) or certificate.superseded_by is not None:
        return supersede(certificate, command)
    match successor:
        case Issued():
            return CertificateSuperseded(certificate_id=command.certificate_id, successor_id=command.successor_id)
        case Unborn() | Created() | Revoked():
            return reject_unissued(successor, command.successor_id)
        case _:
            assert_never(successor)


def revoke(certificate: Certificate, command: RevokeCertificate, context: Context) -> CertificateDecision:
    """Revokes a certificate, or voids an id that has none, so that a late request cannot create it."""
    if command.invalidity_date is not None and command.invalidity_date > context.at + _CLOCK_SKEW:
        return invalid("invalidity_date lies in the future; give the time from which the certificate was invalid")
    match certificate:
        case Unborn() if command.void_if_absent:
            return CertificateRevoked(
                certificate_id=command.certificate_id, reason=command.reason, existed=False, signed=False
            )
        case Unborn():
            return not_found(command.certificate_id, "; set void_if_absent to make sure that it is never created")
        case Created() | Issued():
            return CertificateRevoked(
                certificate_id=command.certificate_id,
                reason=command.reason,
                serial=certificate.serial,
                issuer_id=certificate.issuer_id,
                not_after=certificate.not_after,
                invalidity_date=command.invalidity_date,
                signed=isinstance(certificate, Issued),
                ocsp=isinstance(certificate, Issued) and certificate.ocsp,
            )
        case Revoked(reason=reason) if command.void_if_absent or command.reason == reason:
            return AlreadyDone()
        case Revoked(reason=reason):
            return conflict(f"{command.certificate_id} is revoked already, for {reason}; a reason cannot be changed")
        case _:
            assert_never(certificate)


def announce_expiry(certificate: Certificate, command: AnnounceExpiry, context: Context) -> CertificateDecision:
    """Announces the expiry once it is due; a superseded or revoked certificate needs no notice."""
    match certificate:
        case Issued() if certificate.announced or certificate.expired or certificate.superseded_by is not None:
            return AlreadyDone()
        case Issued():
            due = certificate.expiring_at or certificate.not_after
            if context.at < due - _CLOCK_SKEW:
                return conflict(f"the expiry notice of {command.certificate_id} is due on {due.isoformat()}")
            return CertificateExpiring(
                certificate_id=command.certificate_id,
                profile=certificate.profile,
                not_after=certificate.not_after,
                renewal=certificate.renewal,
            )
        case Revoked():
            return AlreadyDone()
        case Unborn() | Created():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def expire(certificate: Certificate, command: ExpireCertificate, context: Context) -> CertificateDecision:
    match certificate:
        case Revoked() | Issued(expired=True):
            return AlreadyDone()
        case Issued():
            if context.at < certificate.not_after:
                return conflict(f"{command.certificate_id} expires on {certificate.not_after.isoformat()}")
            return CertificateExpired(certificate_id=command.certificate_id, not_after=certificate.not_after)
        case Unborn() | Created():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def reject_unissued(certificate: Unborn | Created | Revoked, certificate_id: str) -> Rejection:
    """Rejects a command that needs an issued certificate."""
    match certificate:
        case Unborn():
            return not_found(certificate_id, "; create and sign it first")
        case Created():
            return conflict(f"{certificate_id} is not signed yet; sign it first, or revoke it")
        case Revoked():
            return conflict(f"{certificate_id} is revoked, and that is final")
