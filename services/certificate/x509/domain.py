"""What the certificate service decides, by what is asked and heard. Pure: no clock, no randomness, no IO.

How a certificate comes to be is in `issuance`, `renewal`, `signing` and `taking_over`; what becomes of it in
`lifecycle`; what is remembered of all that in `history`.
"""

from functools import partial
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.crl import domain
from services.certificate.crl.effects import CrlAssembled, CrlBuilt, CrlSignatureWrong, RevocationsGathered
from services.certificate.policy.rules import Policy
from services.certificate.verification.effects import PathChecked, PathNotChecked
from services.certificate.x509 import (
    attachment,
    import_existing,
    issuance,
    lifecycle,
    limits,
    renewal,
    verification_request,
)
from services.certificate.x509.effects import (
    Assembled,
    AuthorityRead,
    CertificateRead,
    Effect,
    IssuerFetched,
    OtherFetched,
    Outcome,
    PredecessorFetched,
    Rendered,
    RequestUnfit,
    SignatureWrong,
    TbsBuilt,
)
from services.certificate.x509.history import evolve
from services.certificate.x509.states import STATE_VERSION, Certificate, Unborn
from shared.contracts.certificate import commands as asked
from shared.contracts.certificate import events as told
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

Asked = (
    asked.CheckIssuance
    | asked.CreateCertificate
    | asked.RenewCertificate
    | asked.CrossCertify
    | asked.ImportCertificate
    | asked.SignCertificate
    | asked.HoldCertificate
    | asked.ReleaseCertificate
    | asked.SupersedeCertificate
    | asked.RevokeCertificate
    | asked.AnnounceExpiry
    | asked.ExpireCertificate
    | asked.ExportCertificate
    | asked.VerifyCertificate
    | asked.CreateCrl
    | asked.PublishCrl
)
"""The commands that are answered here."""

Decision = told.CertificateEvent | Rejection | AlreadyDone | Perform[Effect]


def decide(policy: Policy, certificate: Certificate, message: Asked | Outcome, context: Context) -> Decision:  # noqa: C901, PLR0912 - one case a command
    match message:
        case asked.CheckIssuance() | asked.CreateCertificate() | asked.RenewCertificate() | asked.CrossCertify():
            return issuance.ask(policy, certificate, message, context)
        case asked.ImportCertificate():
            return import_existing.take_over(policy, certificate, message)
        case asked.SignCertificate():
            return attachment.sign(certificate, message)
        case asked.HoldCertificate():
            return lifecycle.hold(certificate, message, context)
        case asked.ReleaseCertificate():
            return lifecycle.release(certificate, message)
        case asked.SupersedeCertificate():
            return lifecycle.supersede(certificate, message)
        case asked.RevokeCertificate():
            return lifecycle.revoke(certificate, message, context)
        case asked.AnnounceExpiry():
            return lifecycle.announce(certificate, message, context)
        case asked.ExpireCertificate():
            return lifecycle.expire(certificate, message, context)
        case asked.ExportCertificate():
            return lifecycle.export(certificate, message)
        case asked.VerifyCertificate():
            return verification_request.verify(certificate, message, context)
        case asked.CreateCrl() | asked.PublishCrl():
            return domain.decide(certificate, message, context)
        case _:
            return _go_on(policy, certificate, message, context)


def _go_on(policy: Policy, certificate: Certificate, outcome: Outcome, context: Context) -> Decision:  # noqa: C901, PLR0912 - one case an outcome
    match outcome:
        case IssuerFetched():
            return issuance.issue(policy, outcome, context)
        case PredecessorFetched():
            return renewal.renew(policy, outcome, context)
        case AuthorityRead():
            return renewal.cross_certify(policy, outcome, context)
        case TbsBuilt():
            return issuance.created(outcome)
        case RequestUnfit(reason=reason):
            return limits.invalid(reason)
        case CertificateRead():
            return import_existing.taken_over(policy, certificate, outcome, context)
        case OtherFetched(request=request, other=other):
            if isinstance(request, asked.SignCertificate):
                return attachment.sign_by(certificate, request, other, context)
            return lifecycle.supersede_by(certificate, request, other)
        case Assembled():
            return attachment.signed(policy, outcome)
        case SignatureWrong(certificate_id=certificate_id):
            return limits.invalid(
                f"the signature does not verify with the issuer's public key over the tbs of {certificate_id}"
            )
        case RevocationsGathered() | CrlBuilt() | CrlAssembled() | CrlSignatureWrong():
            return domain.decide(certificate, outcome, context)
        case PathChecked() | PathNotChecked():
            return verification_request.verify(certificate, outcome, context)
        case Rendered(request=export, content=content):
            return told.CertificateExported(certificate_id=export.certificate_id, format=export.format, content=content)
        case _:
            assert_never(outcome)


def certificate_decider(policy: Policy) -> Decider[Certificate, Asked, told.CertificateEvent, Effect, Outcome]:
    return Decider(
        Unborn(),
        partial(decide, policy),
        evolve,
        commands=get_args(Asked),
        events=get_args(told.CertificateEvent),
        states=TypeAdapter(Annotated[Certificate, Field(discriminator="kind")]),
        state_version=STATE_VERSION,
        creation_commands=(asked.CreateCertificate, asked.RenewCertificate),
    )


CERTIFICATE = certificate_decider(Policy())
"""Where everything is allowed: no policy is laid down."""
