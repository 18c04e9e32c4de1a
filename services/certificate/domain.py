"""When a certificate would be issued, may be created, signed and revoked. Pure: no clock, no randomness, no IO."""

import base64
from hashlib import sha256
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate import crl, policy
from services.certificate.crl_effects import CrlAssembled, CrlBuilt, CrlSignatureWrong, RevocationsGathered
from services.certificate.effects import (
    Assembled,
    AttachSignature,
    BuildTbs,
    Effect,
    FetchIssuer,
    IssuerFetched,
    Outcome,
    Request,
    RequestUnfit,
    SignatureWrong,
    TbsBuilt,
)
from services.certificate.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate import (
    CertificateCommand,
    CheckIssuance,
    CreateCertificate,
    CreateCrl,
    PublishCrl,
    RevokeCertificate,
    SignCertificate,
)
from shared.contracts.certificate_events import (
    CertificateCreated,
    CertificateEvent,
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
    CrlCreated,
    CrlPublished,
    IssuanceChecked,
)
from shared.contracts.command import RefusalCode
from shared.decider import Context, Decider, Perform, Refused, Stands

Decision = CertificateEvent | Refused | Stands | Perform[Effect]


def decide(certificate: Certificate, message: CertificateCommand | Outcome, context: Context) -> Decision:
    match message:
        case CheckIssuance() | CreateCertificate():
            return _create(certificate, message, context)
        case IssuerFetched(request=request, issuer=issuer):
            return _issue(request, issuer, context)
        case TbsBuilt():
            return _created(message)
        case RequestUnfit(reason=reason):
            return Refused(RefusalCode.INVALID, reason)
        case SignCertificate():
            return _sign(certificate, message)
        case Assembled():
            return _signed(message)
        case SignatureWrong(certificate_id=certificate_id):
            problem = f"the signature does not verify with the issuer's public key over the tbs of {certificate_id}"
            return Refused(RefusalCode.INVALID, problem)
        case RevokeCertificate():
            return _revoke(certificate, message)
        case CreateCrl() | PublishCrl() | RevocationsGathered() | CrlBuilt() | CrlAssembled() | CrlSignatureWrong():
            return crl.decide(certificate, message, context)
        case _:
            assert_never(message)


def evolve(certificate: Certificate, event: CertificateEvent) -> Certificate:
    match event:
        case IssuanceChecked() | CertificateHeld() | CertificateReleased():
            return certificate
        case CertificateCreated():
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
            )
        case CertificateSigned():
            if not isinstance(certificate, Created):
                return certificate  # `decide` leads to no such history
            return Issued(
                event.profile,
                event.certificate_pem,
                event.serial,
                event.issuer_id,
                certificate.key_id,
                certificate.signing_key_id,
                event.not_before,
                event.not_after,
            )
        case CertificateRevoked():
            return Revoked(event.serial, event.existed, event.reason)
        case CrlCreated() | CrlPublished():
            return crl.evolve(certificate, event)
        case _:
            assert_never(event)


def _create(certificate: Certificate, request: Request, context: Context) -> Decision:
    match certificate:
        case Unborn():
            return _begin(request, context)
        case Created() | Issued():
            if isinstance(request, CheckIssuance) or _stands_already(certificate, request):
                return Stands()
            problem = f"{request.certificate_id} is another certificate already; ask under an id of its own"
            return Refused(RefusalCode.CONFLICT, problem)
        case Revoked():
            problem = f"{request.certificate_id} is revoked; an id is never used again, ask under a new one"
            return Refused(RefusalCode.CONFLICT, problem)
        case _:
            assert_never(certificate)


def _stands_already(certificate: Created | Issued, request: CreateCertificate) -> bool:
    return (
        (certificate.profile, certificate.issuer_id) == (request.profile, request.issuer_id)
        and request.signing_key_id in (None, certificate.signing_key_id)
        and request.key_id in (None, certificate.key_id)
    )


def _begin(request: Request, context: Context) -> Decision:
    if (refused := policy.refusal(request)) is not None:
        return refused
    if isinstance(request, CheckIssuance):
        return Perform(FetchIssuer(request, request.issuer_id))
    if request.issuer_id is not None:
        return Perform(FetchIssuer(request, request.issuer_id))
    key = policy.own_key(request)
    if isinstance(key, Refused):
        return key
    validity = policy.validity(request.validity_days, context.at, None)
    if isinstance(validity, Refused):
        return validity
    return Perform(BuildTbs(request, None, key, key, validity.begin, validity.end))


def _issue(request: Request, issuer: Certificate, context: Context) -> Decision:
    match issuer:
        case Unborn():
            problem = f"there is no certificate {request.issuer_id} to issue with; create and sign it first"
            return Refused(RefusalCode.NOT_FOUND, problem)
        case Created():
            problem = f"the issuer {request.issuer_id} is not signed yet; sign it first"
            return Refused(RefusalCode.CONFLICT, problem)
        case Revoked():
            problem = f"the issuer {request.issuer_id} is revoked and issues nothing more"
            return Refused(RefusalCode.CONFLICT, problem)
        case Issued():
            return _issue_with(request, issuer, context)
        case _:
            assert_never(issuer)


def _issue_with(request: Request, issuer: Issued, context: Context) -> Decision:
    if (refused := policy.issuer_refusal(request, issuer.profile)) is not None:
        return refused
    within = policy.Validity(issuer.not_before, issuer.not_after)
    validity = policy.validity(request.validity_days, context.at, within)
    if isinstance(validity, Refused):
        return validity
    key = policy.issuing_key(request, issuer.key_id)
    if isinstance(key, Refused):
        return key
    if isinstance(request, CheckIssuance):
        return IssuanceChecked(**request.model_dump(exclude={"signing_key_id"}))
    return Perform(BuildTbs(request, issuer.certificate_pem, key, request.key_id, validity.begin, validity.end))


def _created(built: TbsBuilt) -> CertificateCreated:
    plan = built.plan
    return CertificateCreated(
        certificate_id=plan.request.certificate_id,
        profile=plan.request.profile,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        signing_key_id=plan.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        serial=built.serial,
        issuer_id=plan.request.issuer_id,
        issuer_public_key_pem=built.issuer_public_key_pem,
        key_id=plan.key_id,
        not_before=plan.not_before,
        not_after=plan.not_after,
    )


def _sign(certificate: Certificate, command: SignCertificate) -> Decision:
    match certificate:
        case Unborn():
            problem = f"there is no certificate {command.certificate_id} to sign; create it first"
            return Refused(RefusalCode.NOT_FOUND, problem)
        case Created():
            return Perform(AttachSignature(command.certificate_id, certificate, command.signature))
        case Issued():
            return Stands()
        case Revoked():
            return Refused(RefusalCode.CONFLICT, f"{command.certificate_id} is revoked; create another under a new id")
        case _:
            assert_never(certificate)


def _signed(assembled: Assembled) -> CertificateSigned:
    created = assembled.plan.created
    return CertificateSigned(
        certificate_id=assembled.plan.certificate_id,
        profile=created.profile,
        certificate_pem=assembled.certificate_pem,
        serial=created.serial,
        fingerprint_sha256=assembled.fingerprint_sha256,
        issuer_id=created.issuer_id,
        not_before=created.not_before,
        not_after=created.not_after,
    )


def _revoke(certificate: Certificate, command: RevokeCertificate) -> Decision:
    match certificate:
        case Unborn() if command.void_if_absent:
            return CertificateRevoked(certificate_id=command.certificate_id, reason=command.reason, existed=False)
        case Unborn():
            problem = f"there is no certificate {command.certificate_id}; void_if_absent makes sure there never will be"
            return Refused(RefusalCode.NOT_FOUND, problem)
        case Created(serial=serial) | Issued(serial=serial):
            return CertificateRevoked(certificate_id=command.certificate_id, reason=command.reason, serial=serial)
        case Revoked(reason=reason) if command.void_if_absent or command.reason == reason:
            return Stands()
        case Revoked(reason=reason):
            problem = f"{command.certificate_id} is revoked already, for {reason}; a revocation stands as it was said"
            return Refused(RefusalCode.CONFLICT, problem)
        case _:
            assert_never(certificate)


CERTIFICATE: Decider[Certificate, CertificateCommand, CertificateEvent, Effect, Outcome] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=get_args(CertificateCommand),
    events=get_args(CertificateEvent),
    states=TypeAdapter(Annotated[Certificate, Field(discriminator="kind")]),
)
