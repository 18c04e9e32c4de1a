"""Issuance: from a check or a request to `certificate.created`, and from there by a signature to `certificate.signed`.

Pure. Renewal and cross-certification build their template in `renewal` and join here at `apply_template`.
"""

from hashlib import sha256
from typing import assert_never

from services.certificate.names.syntax import requested_sans
from services.certificate.policy.rules import IssuanceRequest, Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import limits
from services.certificate.x509.effects import (
    AttachSignature,
    BuildTbs,
    CertificateAssembled,
    CertificateDecision,
    CertificateTemplate,
    FetchIssuer,
    FetchPredecessor,
    FetchRelated,
    IssuanceCommand,
    IssuerFetched,
    ReadCaCertificate,
    TbsBuilt,
)
from services.certificate.x509.rejections import conflict, not_allowed, not_found
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import (
    CheckIssuance,
    CreateCertificate,
    CrossCertify,
    RenewCertificate,
    SignCertificate,
)
from shared.contracts.certificate.events import (
    CertificateCreated,
    CertificateRenewed,
    CertificateSigned,
    IssuanceChecked,
)
from shared.contracts.certificate.value_types import Profile
from shared.decider import AlreadyDone, Context, Perform, Rejection


def request_issuance(
    policy: Policy, certificate: Certificate, command: IssuanceCommand, context: Context
) -> CertificateDecision:
    """Decides on a command that checks or creates a certificate."""
    match certificate:
        case Unborn():
            return _first_step(policy, command, context)
        case Created() | Issued():
            if isinstance(command, CheckIssuance) or _is_retry(certificate, command):
                return AlreadyDone()
            return conflict(f"{command.certificate_id} is another certificate already; use a new certificate_id")
        case Revoked():
            problem = f"{command.certificate_id} is revoked; an id is never used again, take a new certificate_id"
            return conflict(problem)
        case _:
            assert_never(certificate)


def _is_retry(certificate: Created | Issued, command: CreateCertificate | RenewCertificate | CrossCertify) -> bool:
    match command:
        case CreateCertificate():
            return (
                (certificate.profile, certificate.issuer_id) == (command.profile, command.issuer_id)
                and command.signing_key_id in (None, certificate.signing_key_id)
                and command.key_id in (None, certificate.key_id)
            )
        case RenewCertificate():
            return certificate.predecessor_id == command.predecessor_id
        case CrossCertify():
            return (certificate.profile, certificate.issuer_id) == (Profile.INTERMEDIATE, command.issuer_id)


def _first_step(policy: Policy, command: IssuanceCommand, context: Context) -> CertificateDecision:
    match command:
        case CheckIssuance():
            return apply_template(policy, _template_of_check(command), context)
        case CreateCertificate():
            return apply_template(policy, _template_of_request(command), context)
        case RenewCertificate():
            return Perform(FetchPredecessor(command))
        case CrossCertify():
            return Perform(ReadCaCertificate(command))
        case _:
            assert_never(command)


def _template_of_check(check: CheckIssuance) -> CertificateTemplate:
    """Leaves *names* None if the check has neither subject nor names: names are not checked then."""
    from_subject = () if check.subject is None else requested_sans(check.subject, ())
    has_names = check.subject is not None or check.sans
    return CertificateTemplate(
        request=check,
        profile=check.profile,
        issuer_id=check.issuer_id,
        signing_key_id=check.signing_key_id,
        validity_days=check.validity_days,
        common_name=None if check.subject is None else check.subject.common_name,
        names=(*from_subject, *check.sans) if has_names else None,
        path_length=PROFILES[check.profile].path_length,
    )


def _template_of_request(create: CreateCertificate) -> CertificateTemplate:
    path_length = PROFILES[create.profile].path_length if create.path_length is None else create.path_length
    return CertificateTemplate(
        request=create,
        profile=create.profile,
        issuer_id=create.issuer_id,
        signing_key_id=create.signing_key_id,
        key_id=create.key_id,
        validity_days=create.validity_days,
        common_name=create.subject.common_name,
        names=requested_sans(create.subject, create.sans),
        path_length=path_length,
        name_constraints=create.name_constraints,
    )


def apply_template(policy: Policy, template: CertificateTemplate, context: Context) -> CertificateDecision:
    """Checks a template against limits and policy; then fetches its issuer, or builds a root at once."""
    if (rejection := limits.check_template(template, ml_dsa=policy.ml_dsa)) is not None:
        return rejection
    request = IssuanceRequest(
        actor=context.actor,
        profile=template.profile,
        issuer_id=template.issuer_id,
        names=template.names,
        validity_days=template.validity_days,
    )
    if (problem := policy.check_request(request)) is not None:
        return not_allowed(problem)
    if template.issuer_id is not None:
        return Perform(FetchIssuer(template, template.issuer_id))
    key_id = limits.choose_self_signing_key(template)
    if isinstance(key_id, Rejection):
        return key_id
    validity = limits.compute_validity(template.validity_days, context.at, None)
    if isinstance(validity, Rejection):
        return validity
    return Perform(
        BuildTbs(
            template=template,
            issuer_certificate_pem=None,
            signing_key_id=key_id,
            key_id=key_id,
            not_before=validity.begin,
            not_after=validity.end,
            ml_dsa=policy.ml_dsa,
        )
    )


def build_with_issuer(policy: Policy, fetched: IssuerFetched, context: Context) -> CertificateDecision:
    """Checks a template against its issuer and path; then answers a check, or builds the certificate."""
    template = fetched.template
    issuer_id = template.issuer_id or ""
    issuer = limits.require_usable_issuer(issuer_id, fetched.issuer)
    if isinstance(issuer, Rejection):
        return issuer
    if (rejection := limits.check_path(template, issuer.profile, fetched.path)) is not None:
        return rejection
    issuer_validity = limits.Validity(issuer.not_before, issuer.not_after)
    validity = limits.compute_validity(template.validity_days, context.at, issuer_validity)
    if isinstance(validity, Rejection):
        return validity
    key_id = limits.choose_issuing_key(template, issuer.key_id)
    if isinstance(key_id, Rejection):
        return key_id
    if isinstance(template.request, CheckIssuance):
        return IssuanceChecked(**template.request.model_dump(exclude={"signing_key_id", "subject", "sans"}))
    no_check = PROFILES[template.profile].ocsp_no_check
    return Perform(
        BuildTbs(
            template=template,
            issuer_certificate_pem=issuer.certificate_pem,
            signing_key_id=key_id,
            key_id=template.key_id,
            not_before=validity.begin,
            not_after=validity.end,
            urls=policy.for_issuer(issuer_id).urls(issuer_id, ocsp_no_check=no_check),
            ml_dsa=policy.ml_dsa,
        )
    )


def created_event(built: TbsBuilt) -> CertificateCreated:
    effect, template = built.effect, built.effect.template
    event = CertificateCreated(
        certificate_id=template.request.certificate_id,
        profile=template.profile,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        signing_key_id=effect.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        serial=built.serial,
        issuer_id=template.issuer_id,
        issuer_public_key_pem=built.issuer_public_key_pem,
        key_id=effect.key_id,
        not_before=effect.not_before,
        not_after=effect.not_after,
        profile_version=PROFILES[template.profile].version,
    )
    if isinstance(template.request, RenewCertificate):
        return CertificateRenewed(**dict(event), predecessor_id=template.request.predecessor_id)
    return event


def sign(certificate: Certificate, command: SignCertificate) -> CertificateDecision:
    """Decides on a signature for a created certificate; fetches its issuer first."""
    match certificate:
        case Unborn():
            return not_found(command.certificate_id, " to sign; create it first")
        case Created(issuer_id=issuer_id):
            if issuer_id is not None:
                return Perform(FetchRelated(command, issuer_id))
            return Perform(AttachSignature(command.certificate_id, certificate, command.signature))
        case Issued():
            return AlreadyDone()
        case Revoked():
            return conflict(f"{command.certificate_id} is revoked; create another under a new id")
        case _:
            assert_never(certificate)


def sign_with_issuer(
    certificate: Certificate, command: SignCertificate, issuer: Certificate, context: Context
) -> CertificateDecision:
    """Checks the issuer again: it may have been revoked, held or have expired since the certificate was created."""
    if not isinstance(certificate, Created):
        return sign(certificate, command)
    usable = limits.require_usable_issuer(certificate.issuer_id or "", issuer)
    if isinstance(usable, Rejection):
        return usable
    if context.at > usable.not_after:
        return conflict(f"the issuer {certificate.issuer_id} expired on {usable.not_after.isoformat()}")
    return Perform(AttachSignature(command.certificate_id, certificate, command.signature))


def signed_event(policy: Policy, assembled: CertificateAssembled) -> CertificateSigned:
    """Applies the issuer's policy on expiry notice, renewal and OCSP; a CA is never renewed automatically."""
    created = assembled.effect.created
    issuer, rules = policy.for_issuer(created.issuer_id), PROFILES[created.profile]
    return CertificateSigned(
        certificate_id=assembled.effect.certificate_id,
        profile=created.profile,
        certificate_pem=assembled.certificate_pem,
        serial=created.serial,
        fingerprint_sha256=assembled.fingerprint_sha256,
        issuer_id=created.issuer_id,
        not_before=created.not_before,
        not_after=created.not_after,
        key_id=created.key_id,
        expiring_at=issuer.expiry_notice_at(created.not_before, created.not_after),
        renewal=issuer.renew and not rules.is_ca,
        ocsp=issuer.ocsp and created.issuer_id is not None and not rules.ocsp_no_check,
    )
