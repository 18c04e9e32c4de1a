"""Commands about a certificate that change nothing: export and verify. Pure."""

from typing import assert_never

from services.certificate.verification.effects import CheckPath, PathChecked
from services.certificate.x509.effects import CertificateDecision, RenderExport
from services.certificate.x509.lifecycle import reject_unissued
from services.certificate.x509.rejections import conflict, invalid, not_found
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import ExportCertificate, VerifyCertificate
from shared.contracts.certificate.events import CertificateVerified
from shared.contracts.certificate.value_types import CertificateFormat
from shared.decider import Context, Perform


def export(certificate: Certificate, command: ExportCertificate) -> CertificateDecision:
    """Exports an issued certificate, also after its revocation."""
    if command.chain and command.format is CertificateFormat.DER:
        return invalid("der holds a single certificate; for the chain, use format pem or pkcs7")
    match certificate:
        case Issued(certificate_pem=pem, issuer_id=issuer_id) | Revoked(certificate_pem=str(pem), issuer_id=issuer_id):
            return Perform(RenderExport(command, pem, issuer_id))
        case Unborn() | Created() | Revoked():
            return reject_unissued(certificate, command.certificate_id)
        case _:
            assert_never(certificate)


def verify(certificate: Certificate, command: VerifyCertificate, context: Context) -> CertificateDecision:
    """Starts the path validation of a stored certificate, or of the one in the command."""
    certificate_id, gives_certificate = command.certificate_id, command.certificate_pem is not None
    match certificate:
        case Unborn() if not gives_certificate:
            return not_found(certificate_id, "; to verify a certificate from elsewhere, give certificate_pem")
        case Created():
            return conflict(f"{certificate_id} is not signed yet: there is nothing to verify; sign it first")
        case Issued() | Revoked() if gives_certificate:
            problem = f"{certificate_id} is a stored certificate; give its certificate_id or another's certificate_pem"
            return invalid(problem)
        case _:
            return Perform(CheckPath(command, command.at or context.at))


def verified_event(checked: PathChecked) -> CertificateVerified:
    return CertificateVerified(
        certificate_id=checked.effect.request.certificate_id,
        valid=checked.reason is None,
        at=checked.effect.at,
        usage=checked.effect.request.usage,
        reason=checked.reason,
        path=checked.path,
    )
