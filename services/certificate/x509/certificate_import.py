"""Import of certificates that were issued elsewhere. Pure."""

from typing import assert_never

from services.certificate.policy.rules import IssuanceRequest, Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509.effects import CertificateDecision, CertificateRead, ReadCertificate
from services.certificate.x509.rejections import conflict, invalid, not_allowed, not_found
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import ImportCertificate
from shared.contracts.certificate.events import CertificateImported
from shared.contracts.certificate.value_types import Profile
from shared.decider import AlreadyDone, Context, Perform


def read_certificate(policy: Policy, certificate: Certificate, command: ImportCertificate) -> CertificateDecision:
    """Lets the performer parse the certificate, unless its id is taken."""
    match certificate:
        case Unborn() | Issued():
            if (command.issuer_id is None) is not (command.profile is Profile.ROOT):
                return invalid(
                    "a root has no issuer_id, and every other certificate needs one: import its issuer first"
                )
            return Perform(ReadCertificate(command, policy.ml_dsa))
        case Created():
            return conflict(f"{command.certificate_id} is another certificate already; import under a new id")
        case Revoked():
            return conflict(f"{command.certificate_id} is revoked; an id is never used again, take a new one")
        case _:
            assert_never(certificate)


def import_certificate(
    policy: Policy, certificate: Certificate, parsed: CertificateRead, context: Context
) -> CertificateDecision:
    """Imports a parsed certificate that is new, valid and allowed by the policy."""
    command = parsed.request
    if isinstance(certificate, Issued):
        if certificate.certificate_pem == parsed.certificate_pem and command.key_id in (None, certificate.key_id):
            return AlreadyDone()
        return conflict(f"{command.certificate_id} is another certificate already; import under a new id")
    if parsed.existing_id not in (None, command.certificate_id):
        return conflict(f"this certificate is stored already, as {parsed.existing_id}: serial numbers are unique")
    if isinstance(parsed.issuer, Unborn | Created):
        return not_found(command.issuer_id or "", " that is signed; import the issuer first")
    if context.at > parsed.not_after:
        return conflict(f"it expired on {parsed.not_after.isoformat()}; an expired certificate cannot be imported")
    days = max(1, (parsed.not_after - parsed.not_before).days)
    request = IssuanceRequest(
        actor=context.actor,
        profile=command.profile,
        issuer_id=command.issuer_id,
        names=parsed.content.names,
        validity_days=days,
    )
    if (problem := policy.check_request(request)) is not None:
        return not_allowed(problem)
    issuer, rules = policy.for_issuer(command.issuer_id), PROFILES[command.profile]
    return CertificateImported(
        certificate_id=command.certificate_id,
        profile=command.profile,
        certificate_pem=parsed.certificate_pem,
        serial=parsed.serial,
        fingerprint_sha256=parsed.fingerprint_sha256,
        issuer_id=command.issuer_id,
        key_id=command.key_id,
        not_before=parsed.not_before,
        not_after=parsed.not_after,
        expiring_at=issuer.expiry_notice_at(parsed.not_before, parsed.not_after),
        ocsp=issuer.ocsp and command.issuer_id is not None and not rules.ocsp_no_check,
    )
