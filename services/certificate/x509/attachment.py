"""How a certificate that was created gets its signature. Pure."""

from typing import assert_never

from services.certificate.policy.rules import Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import limits
from services.certificate.x509.effects import Assembled, AttachSignature, Effect, FetchOther
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import SignCertificate
from shared.contracts.certificate.events import CertificateSigned
from shared.decider import AlreadyDone, Context, Perform, Rejection

Decision = Rejection | AlreadyDone | Perform[Effect]


def sign(certificate: Certificate, command: SignCertificate) -> Decision:
    match certificate:
        case Unborn():
            return limits.missing(command.certificate_id, " to sign; create it first")
        case Created(issuer_id=issuer_id):
            if issuer_id is not None:
                return Perform(FetchOther(command, issuer_id))
            return Perform(AttachSignature(command.certificate_id, certificate, command.signature))
        case Issued():
            return AlreadyDone()
        case Revoked():
            return limits.conflict(f"{command.certificate_id} is revoked; create another under a new id")
        case _:
            assert_never(certificate)


def sign_by(certificate: Certificate, command: SignCertificate, issuer: Certificate, context: Context) -> Decision:
    """The issuer may have been revoked, or put on hold, since the certificate was created."""
    if not isinstance(certificate, Created):
        return sign(certificate, command)
    fit = limits.fit_issuer(certificate.issuer_id or "", issuer)
    if isinstance(fit, Rejection):
        return fit
    if context.at > fit.not_after:
        return limits.conflict(f"the issuer {certificate.issuer_id} ended on {fit.not_after.isoformat()}")
    return Perform(AttachSignature(command.certificate_id, certificate, command.signature))


def signed(policy: Policy, assembled: Assembled) -> CertificateSigned:
    """An authority is never renewed by itself: that is a person's decision."""
    made = assembled.plan.created
    for_issuer, rules = policy.for_issuer(made.issuer_id), PROFILES[made.profile]
    return CertificateSigned(
        certificate_id=assembled.plan.certificate_id,
        profile=made.profile,
        certificate_pem=assembled.certificate_pem,
        serial=made.serial,
        fingerprint_sha256=assembled.fingerprint_sha256,
        issuer_id=made.issuer_id,
        not_before=made.not_before,
        not_after=made.not_after,
        key_id=made.key_id,
        expiring_at=for_issuer.expiry_notice_at(made.not_before, made.not_after),
        renewal=for_issuer.renew and not rules.is_authority,
        ocsp=for_issuer.ocsp and made.issuer_id is not None and not rules.ocsp_no_check,
    )
