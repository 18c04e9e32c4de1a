"""How a certificate comes to be: checked or created, by which issuer, until `certificate.created` is told. Pure."""

from hashlib import sha256
from typing import assert_never

from services.certificate.names.syntax import requested_sans
from services.certificate.policy.rules import IssuanceRequest, Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import limits
from services.certificate.x509.effects import (
    BuildTbs,
    Effect,
    FetchIssuer,
    FetchPredecessor,
    IssuerFetched,
    ReadAuthority,
    Request,
    TbsBuilt,
    Wanted,
)
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import (
    CheckIssuance,
    CreateCertificate,
    CrossCertify,
    RenewCertificate,
)
from shared.contracts.certificate.events import (
    CertificateCreated,
    CertificateEvent,
    CertificateRenewed,
    IssuanceChecked,
)
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Perform, Rejection

Decision = CertificateEvent | Rejection | AlreadyDone | Perform[Effect]


def ask(policy: Policy, certificate: Certificate, request: Request, context: Context) -> Decision:
    match certificate:
        case Unborn():
            return _first_step(policy, request, context)
        case Created() | Issued():
            if isinstance(request, CheckIssuance) or _stands_already(certificate, request):
                return AlreadyDone()
            problem = f"{request.certificate_id} is another certificate already; ask under an id of its own"
            return limits.conflict(problem)
        case Revoked():
            problem = f"{request.certificate_id} is revoked; an id is never used again, ask under a new one"
            return limits.conflict(problem)
        case _:
            assert_never(certificate)


def _stands_already(certificate: Created | Issued, request: Request) -> bool:
    match request:
        case CreateCertificate():
            return (
                (certificate.profile, certificate.issuer_id) == (request.profile, request.issuer_id)
                and request.signing_key_id in (None, certificate.signing_key_id)
                and request.key_id in (None, certificate.key_id)
            )
        case RenewCertificate():
            return certificate.predecessor_id == request.predecessor_id
        case CrossCertify():
            return (certificate.profile, certificate.issuer_id) == (Profile.INTERMEDIATE, request.issuer_id)
        case CheckIssuance():
            return True


def _first_step(policy: Policy, request: Request, context: Context) -> Decision:
    match request:
        case CheckIssuance():
            return begin(policy, _checked(request), context)
        case CreateCertificate():
            return begin(policy, _created(request), context)
        case RenewCertificate():
            return Perform(FetchPredecessor(request))
        case CrossCertify():
            return Perform(ReadAuthority(request))
        case _:
            assert_never(request)


def _checked(check: CheckIssuance) -> Wanted:
    """Names are judged where some are given: who only asks whether a kind of certificate is possible gives none."""
    email = () if check.subject is None else requested_sans(check.subject, ())
    told = check.subject is not None or check.sans
    return Wanted(
        check,
        check.profile,
        check.issuer_id,
        check.signing_key_id,
        None,
        check.validity_days,
        None if check.subject is None else check.subject.common_name,
        (*email, *check.sans) if told else None,
        PROFILES[check.profile].path_length,
    )


def _created(create: CreateCertificate) -> Wanted:
    path_length = PROFILES[create.profile].path_length if create.path_length is None else create.path_length
    return Wanted(
        create,
        create.profile,
        create.issuer_id,
        create.signing_key_id,
        create.key_id,
        create.validity_days,
        create.subject.common_name,
        requested_sans(create.subject, create.sans),
        path_length,
        create.name_constraints,
    )


def begin(policy: Policy, wanted: Wanted, context: Context) -> Decision:
    if (refused := limits.refusal(wanted, ml_dsa=policy.ml_dsa)) is not None:
        return refused
    asked = IssuanceRequest(context.actor, wanted.profile, wanted.issuer_id, wanted.names, wanted.validity_days)
    if (objection := policy.check_request(asked)) is not None:
        return Rejection(RejectionCode.NOT_ALLOWED, objection)
    if wanted.issuer_id is not None:
        return Perform(FetchIssuer(wanted, wanted.issuer_id))
    key = limits.own_key(wanted)
    if isinstance(key, Rejection):
        return key
    validity = limits.validity(wanted.validity_days, context.at, None)
    if isinstance(validity, Rejection):
        return validity
    return Perform(BuildTbs(wanted, None, key, key, validity.begin, validity.end, ml_dsa=policy.ml_dsa))


def issue(policy: Policy, heard: IssuerFetched, context: Context) -> Decision:
    wanted = heard.wanted
    issuer_id = wanted.issuer_id or ""
    issuer = limits.fit_issuer(issuer_id, heard.issuer)
    if isinstance(issuer, Rejection):
        return issuer
    if (refused := limits.issuer_refusal(wanted, issuer.profile, heard.path)) is not None:
        return refused
    within = limits.Validity(issuer.not_before, issuer.not_after)
    validity = limits.validity(wanted.validity_days, context.at, within)
    if isinstance(validity, Rejection):
        return validity
    key = limits.issuing_key(wanted, issuer.key_id)
    if isinstance(key, Rejection):
        return key
    if isinstance(wanted.request, CheckIssuance):
        return IssuanceChecked(**wanted.request.model_dump(exclude={"signing_key_id", "subject", "sans"}))
    pointers = policy.for_issuer(issuer_id).pointers(issuer_id, ocsp_no_check=PROFILES[wanted.profile].ocsp_no_check)
    return Perform(
        BuildTbs(
            wanted,
            issuer.certificate_pem,
            key,
            wanted.key_id,
            validity.begin,
            validity.end,
            pointers,
            policy.ml_dsa,
        )
    )


def created(built: TbsBuilt) -> CertificateCreated:
    plan, wanted = built.plan, built.plan.wanted
    event = CertificateCreated(
        certificate_id=wanted.request.certificate_id,
        profile=wanted.profile,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        signing_key_id=plan.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        serial=built.serial,
        issuer_id=wanted.issuer_id,
        issuer_public_key_pem=built.issuer_public_key_pem,
        key_id=plan.key_id,
        not_before=plan.not_before,
        not_after=plan.not_after,
        profile_version=PROFILES[wanted.profile].version,
    )
    if isinstance(wanted.request, RenewCertificate):
        return CertificateRenewed(**dict(event), predecessor_id=wanted.request.predecessor_id)
    return event
