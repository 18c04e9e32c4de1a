"""What becomes of a certificate once there is one: hold, release, successor, revocation, end, export. Pure."""

from datetime import timedelta
from typing import assert_never

from services.certificate.x509 import limits
from services.certificate.x509.effects import Effect, FetchOther, Render
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import (
    AnnounceExpiry,
    ExpireCertificate,
    ExportCertificate,
    HoldCertificate,
    ReleaseCertificate,
    RevokeCertificate,
    SupersedeCertificate,
)
from shared.contracts.certificate.events import (
    CertificateEvent,
    CertificateExpired,
    CertificateExpiring,
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSuperseded,
)
from shared.contracts.certificate.value_types import CertificateFormat
from shared.decider import AlreadyDone, Context, Perform, Rejection

Decision = CertificateEvent | Rejection | AlreadyDone | Perform[Effect]
_CLOCKS_DIFFER = timedelta(minutes=1)


def hold(certificate: Certificate, command: HoldCertificate, context: Context) -> Decision:
    match certificate:
        case Issued(held=True):
            return AlreadyDone()
        case Issued() if certificate.expired or context.at > certificate.not_after:
            return limits.conflict(f"{command.certificate_id} ended on {certificate.not_after.isoformat()}: let it be")
        case Issued():
            return CertificateHeld(
                certificate_id=command.certificate_id,
                issuer_id=certificate.issuer_id,
                serial=certificate.serial,
                not_after=certificate.not_after,
                ocsp=certificate.ocsp,
            )
        case Unborn() | Created() | Revoked():
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def release(certificate: Certificate, command: ReleaseCertificate) -> Decision:
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
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def supersede(certificate: Certificate, command: SupersedeCertificate) -> Decision:
    match certificate:
        case Issued() if command.successor_id == command.certificate_id:
            return limits.invalid("a certificate does not supersede itself: successor_id must be another one")
        case Issued(superseded_by=None):
            return Perform(FetchOther(command, command.successor_id))
        case Issued(superseded_by=successor) if successor == command.successor_id:
            return AlreadyDone()
        case Issued(superseded_by=successor):
            return limits.conflict(f"{command.certificate_id} is superseded by {successor} already")
        case Unborn() | Created() | Revoked():
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def supersede_by(certificate: Certificate, command: SupersedeCertificate, successor: Certificate) -> Decision:
    if not isinstance(certificate, Issued) or certificate.superseded_by is not None:
        return supersede(certificate, command)
    match successor:
        case Issued():
            return CertificateSuperseded(certificate_id=command.certificate_id, successor_id=command.successor_id)
        case Unborn() | Created() | Revoked():
            return _not_issued(successor, command.successor_id)
        case _:
            assert_never(successor)


def revoke(certificate: Certificate, command: RevokeCertificate, context: Context) -> Decision:
    if command.invalidity_date is not None and command.invalidity_date > context.at + _CLOCKS_DIFFER:
        return limits.invalid("invalidity_date lies in the future; it is since when it must not be trusted")
    match certificate:
        case Unborn() if command.void_if_absent:
            return CertificateRevoked(
                certificate_id=command.certificate_id, reason=command.reason, existed=False, signed=False
            )
        case Unborn():
            return limits.missing(command.certificate_id, "; void_if_absent makes sure there never will be")
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
            problem = f"{command.certificate_id} is revoked already, for {reason}; a revocation stands as it was said"
            return limits.conflict(problem)
        case _:
            assert_never(certificate)


def announce(certificate: Certificate, command: AnnounceExpiry, context: Context) -> Decision:
    match certificate:
        case Issued() if certificate.announced or certificate.expired or certificate.superseded_by is not None:
            return AlreadyDone()
        case Issued():
            due = certificate.expiring_at or certificate.not_after
            if context.at < due - _CLOCKS_DIFFER:
                return limits.conflict(f"the end of {command.certificate_id} is announced on {due.isoformat()}")
            return CertificateExpiring(
                certificate_id=command.certificate_id,
                profile=certificate.profile,
                not_after=certificate.not_after,
                renewal=certificate.renewal,
            )
        case Revoked():
            return AlreadyDone()
        case Unborn() | Created():
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def expire(certificate: Certificate, command: ExpireCertificate, context: Context) -> Decision:
    match certificate:
        case Revoked() | Issued(expired=True):
            return AlreadyDone()
        case Issued():
            if context.at < certificate.not_after:
                return limits.conflict(f"{command.certificate_id} ends on {certificate.not_after.isoformat()}")
            return CertificateExpired(certificate_id=command.certificate_id, not_after=certificate.not_after)
        case Unborn() | Created():
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def export(certificate: Certificate, command: ExportCertificate) -> Decision:
    if command.chain and command.format is CertificateFormat.DER:
        return limits.invalid("der is the certificate alone; with its chain, ask for pem or pkcs7")
    match certificate:
        case Issued(certificate_pem=pem, issuer_id=issuer_id) | Revoked(certificate_pem=str(pem), issuer_id=issuer_id):
            return Perform(Render(command, pem, issuer_id))
        case Unborn() | Created() | Revoked():
            return _not_issued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def _not_issued(certificate: Unborn | Created | Revoked, certificate_id: str) -> Rejection:
    match certificate:
        case Unborn():
            return limits.missing(certificate_id, "; create and sign it first")
        case Created():
            return limits.conflict(f"{certificate_id} is not signed yet; sign it first, or revoke it")
        case Revoked():
            return limits.conflict(f"{certificate_id} is revoked, and that is final")
