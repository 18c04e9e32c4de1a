"""When a certificate may be asked about, and what is answered. Pure: no clock, no randomness, no IO."""

from typing import assert_never

from services.certificate.verification.effects import CheckPath, PathChecked, PathNotChecked
from services.certificate.x509.effects import Effect
from services.certificate.x509.states import Certificate, Created, Unborn
from shared.contracts.certificate.commands import VerifyCertificate
from shared.contracts.certificate.events import CertificateVerified
from shared.contracts.rejection import RejectionCode
from shared.decider import Context, Perform, Rejection


def verify(
    certificate: Certificate, message: VerifyCertificate | PathChecked | PathNotChecked, context: Context
) -> CertificateVerified | Rejection | Perform[Effect]:
    match message:
        case VerifyCertificate():
            return _ask(certificate, message, context)
        case PathNotChecked(code=code, problem=problem):
            return Rejection(code, problem)
        case PathChecked(plan=plan, reason=reason, path=path):
            return CertificateVerified(
                certificate_id=plan.request.certificate_id,
                valid=reason is None,
                at=plan.at,
                usage=plan.request.usage,
                reason=reason,
                path=path,
            )
        case _:
            assert_never(message)


def _ask(certificate: Certificate, request: VerifyCertificate, context: Context) -> Rejection | Perform[Effect]:
    match certificate:
        case Unborn() if request.certificate_pem is None:
            problem = f"there is no certificate {request.certificate_id}; of one that is not ours, give certificate_pem"
            return Rejection(RejectionCode.NOT_FOUND, problem)
        case Created():
            problem = f"{request.certificate_id} is not signed yet: there is nothing to verify; sign it first"
            return Rejection(RejectionCode.CONFLICT, problem)
        case Unborn():
            pass
        case _ if request.certificate_pem is not None:
            problem = f"{request.certificate_id} is one of ours; give its certificate_id or another's certificate_pem"
            return Rejection(RejectionCode.INVALID, problem)
        case _:
            pass
    return Perform(CheckPath(request, request.at or context.at))
