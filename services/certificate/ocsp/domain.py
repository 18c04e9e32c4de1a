"""When a batch of status answers is prepared and published, and by which responder. Pure: no clock, no IO."""

import base64
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.ocsp.states import (
    AnswersAssembled,
    AnswersBuilt,
    AnswersUnfit,
    AttachSignatures,
    BuildAnswers,
    FetchResponder,
    FetchStatuses,
    OcspBatch,
    OcspEffect,
    OcspOutcome,
    Plan,
    Prepared,
    Published,
    ResponderFetched,
    StatusesFetched,
    Unborn,
    Unsigned,
)
from services.certificate.x509.states import Issued
from shared.contracts.certificate.ocsp import (
    OcspAnswer,
    OcspCommand,
    OcspEvent,
    OcspPrepared,
    OcspPublished,
    PrepareOcsp,
    PublishOcsp,
)
from shared.contracts.certificate.vocabulary import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

MOST = 64
"""Certificates in a batch: each has two answers, and `key.sign-batch` takes 256."""
_LARGEST_EVENT = 700_000
_ML_DSA_FROM = 2_800
"""Characters: a certificate with an ML-DSA-65 key in it has more, and a classical one that is as large does no harm."""

Decision = OcspEvent | Rejection | AlreadyDone | Perform[OcspEffect]


def decide(batch: OcspBatch, message: OcspCommand | OcspOutcome, context: Context) -> Decision:
    match message:
        case PrepareOcsp():
            return Perform(FetchResponder(message, context.at)) if isinstance(batch, Unborn) else AlreadyDone()
        case ResponderFetched():
            return _plan(message, context)
        case StatusesFetched():
            return _build(message)
        case AnswersBuilt():
            return _prepared(message)
        case PublishOcsp():
            return _publish(batch, message)
        case AnswersAssembled():
            return _published(message)
        case AnswersUnfit(code=code, reason=reason):
            return Rejection(code, reason)
        case _:
            assert_never(message)


def evolve(batch: OcspBatch, event: OcspEvent) -> OcspBatch:
    match event:
        case OcspPrepared():
            return Prepared(
                event.issuer_id,
                event.responder_id,
                event.signature_algorithm,
                tuple(
                    Unsigned(each.serial, each.issuer_key_hash, base64.b64encode(each.tbs).decode())
                    for each in event.answers
                ),
                event.this_update,
                event.next_update,
                event.everyone,
                event.more_after,
                event.through,
            )
        case OcspPublished():
            return Published() if isinstance(batch, Prepared) else batch  # `decide` leads to no other history
        case _:
            assert_never(event)


def _plan(fetched: ResponderFetched, context: Context) -> Decision:
    request, responder, responder_id = fetched.request, fetched.responder, fetched.responder_id
    if not isinstance(fetched.issuer, Issued):
        problem = f"{request.issuer_id} is no certificate that is issued and valid; nobody answers for what it issued"
        return Rejection(RejectionCode.CONFLICT, problem)
    if responder_id is None:
        problem = f"no OCSP responder of {request.issuer_id} is known; issue an {Profile.OCSP_RESPONDER} certificate"
        return Rejection(RejectionCode.NOT_FOUND, problem)
    if not isinstance(responder, Issued) or not responder.not_before <= context.at <= responder.not_after:
        return Rejection(
            RejectionCode.CONFLICT, f"the responder {responder_id} is no certificate that is issued and valid"
        )
    if responder.profile is not Profile.OCSP_RESPONDER or responder.issuer_id != request.issuer_id:
        problem = f"{responder_id} is no {Profile.OCSP_RESPONDER} certificate issued by {request.issuer_id}"
        return Rejection(RejectionCode.NOT_ALLOWED, problem)
    if responder.key_id is None:
        problem = f"it is not known which key the responder {responder_id} is about; import or issue it with a key_id"
        return Rejection(RejectionCode.CONFLICT, problem)
    at = context.at.replace(microsecond=0)
    plan = Plan(
        request,
        fetched.issuer.certificate_pem,
        responder_id,
        responder.serial,
        responder.certificate_pem,
        responder.key_id,
        at,
        min(at + fetched.policy.validity, responder.not_after),
    )
    most = room(responder.certificate_pem)
    if len(request.certificate_ids) > most:
        problem = f"answers of {responder_id} about at most {most} certificates fit into one batch; ask for fewer"
        return Rejection(RejectionCode.INVALID, problem)
    return Perform(FetchStatuses(plan, most))


def room(responder_certificate_pem: str) -> int:
    """About how many certificates one batch can answer: each answer carries the responder's certificate.

    In base64 an answer without it has up to 1,500 characters, of which most are the signature; with ML-DSA-65, 5,000.
    """
    certificate = len(responder_certificate_pem)
    answer = certificate + (5_000 if certificate > _ML_DSA_FROM else 1_500)
    return max(1, min(MOST, _LARGEST_EVENT // (2 * answer)))


def _build(fetched: StatusesFetched) -> Decision:
    if fetched.unknown:
        issuer_id, ids = fetched.plan.request.issuer_id, ", ".join(fetched.unknown)
        return Rejection(RejectionCode.NOT_FOUND, f"{issuer_id} has issued no certificates {ids}")
    if not fetched.statuses:
        return AlreadyDone({"because": f"{fetched.plan.request.issuer_id} has no certificates to answer for"})
    revoked = [each.revoked_at for each in fetched.statuses if each.revoked_at is not None]
    return Perform(BuildAnswers(fetched, max(fetched.plan.at, *revoked) if revoked else fetched.plan.at))


def _prepared(built: AnswersBuilt) -> OcspPrepared:
    fetched = built.plan.fetched
    plan, request = fetched.plan, fetched.plan.request
    return OcspPrepared(
        batch_id=request.batch_id,
        issuer_id=request.issuer_id,
        responder_id=plan.responder_id,
        signing_key_id=plan.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        answers=tuple(
            OcspAnswer(
                certificate_id=each.certificate_id,
                serial=each.serial,
                tbs=each.tbs,
                issuer_key_hash=each.issuer_key_hash,
            )
            for each in built.answers
        ),
        this_update=built.plan.this_update,
        next_update=plan.next_update,
        everyone=not request.certificate_ids,
        more_after=fetched.more_after,
        through=fetched.through,
    )


def _publish(batch: OcspBatch, command: PublishOcsp) -> Decision:
    match batch:
        case Unborn():
            return Rejection(RejectionCode.NOT_FOUND, f"there is no batch {command.batch_id}; ocsp.prepare makes one")
        case Prepared(answers=answers) if len(answers) != len(command.signatures):
            problem = f"the batch has {len(answers)} answers: as many signatures are needed, in their order"
            return Rejection(RejectionCode.INVALID, problem)
        case Prepared():
            return Perform(AttachSignatures(command.batch_id, batch, command.signatures))
        case Published():
            return AlreadyDone()
        case _:
            assert_never(batch)


def _published(assembled: AnswersAssembled) -> OcspPublished:
    batch = assembled.plan.batch
    return OcspPublished(
        batch_id=assembled.plan.batch_id,
        issuer_id=batch.issuer_id,
        responder_id=batch.responder_id,
        answers=assembled.answers,
        this_update=batch.this_update,
        next_update=batch.next_update,
        everyone=batch.everyone,
        more_after=batch.more_after,
        next_at=batch.this_update + (batch.next_update - batch.this_update) / 2,
    )


OCSP: Decider[OcspBatch, OcspCommand, OcspEvent, OcspEffect, OcspOutcome] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=get_args(OcspCommand),
    events=get_args(OcspEvent),
    states=TypeAdapter(Annotated[OcspBatch, Field(discriminator="kind")]),
)
