"""Decider of OCSP response batches: prepare (build) and publish (sign). Pure: no clock, no IO."""

import base64
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.ocsp.effects import (
    AttachSignatures,
    BatchInvalid,
    BatchPlan,
    BuildResponses,
    FetchResponder,
    FetchStatuses,
    OcspEffect,
    OcspOutcome,
    ResponderFetched,
    ResponsesAssembled,
    ResponsesBuilt,
    StatusesFetched,
)
from services.certificate.ocsp.states import OcspBatch, Prepared, Published, Unborn, UnsignedResponse
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
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

MAX_CERTIFICATES = 64
"""Certificates in a batch: each has two responses, and `key.sign-batch` takes 256."""

_MAX_EVENT_CHARACTERS = 700_000
_MIN_ML_DSA_CERTIFICATE_CHARACTERS = 2_800
"""A certificate with an ML-DSA-65 key is longer; treating an equally long classical one the same does no harm."""

OcspDecision = OcspEvent | Rejection | AlreadyDone | Perform[OcspEffect]


def decide(batch: OcspBatch, message: OcspCommand | OcspOutcome, context: Context) -> OcspDecision:
    match message:
        case PrepareOcsp():
            return Perform(FetchResponder(message, context.at)) if isinstance(batch, Unborn) else AlreadyDone()
        case ResponderFetched():
            return _plan(message, context)
        case StatusesFetched():
            return _build(message)
        case ResponsesBuilt():
            return _prepared_event(message)
        case PublishOcsp():
            return _attach_signatures(batch, message)
        case ResponsesAssembled():
            return _published_event(message)
        case BatchInvalid(code=code, reason=reason):
            return Rejection(code, reason)
        case _:
            assert_never(message)


def evolve(batch: OcspBatch, event: OcspEvent) -> OcspBatch:
    match event:
        case OcspPrepared():
            return Prepared(
                issuer_id=event.issuer_id,
                responder_id=event.responder_id,
                signature_algorithm=event.signature_algorithm,
                answers=tuple(
                    UnsignedResponse(each.serial, each.issuer_key_hash, base64.b64encode(each.tbs).decode())
                    for each in event.answers
                ),
                this_update=event.this_update,
                next_update=event.next_update,
                everyone=event.everyone,
                more_after=event.more_after,
                through=event.through,
            )
        case OcspPublished():
            return Published() if isinstance(batch, Prepared) else batch  # `decide` never publishes another state
        case _:
            assert_never(event)


def batch_capacity(responder_certificate_pem: str) -> int:
    """Estimates how many certificates fit into one event: each response carries the responder's certificate.

    A response without it has up to 1,500 base64 characters, most of them the signature; with ML-DSA-65 it has 5,000.
    """
    certificate = len(responder_certificate_pem)
    response = certificate + (5_000 if certificate > _MIN_ML_DSA_CERTIFICATE_CHARACTERS else 1_500)
    return max(1, min(MAX_CERTIFICATES, _MAX_EVENT_CHARACTERS // (2 * response)))


def _plan(fetched: ResponderFetched, context: Context) -> OcspDecision:
    request, responder, responder_id = fetched.request, fetched.responder, fetched.responder_id
    if not isinstance(fetched.issuer, Issued):
        problem = f"{request.issuer_id} is not an issued and valid certificate; there are no OCSP responses for it"
        return Rejection(RejectionCode.CONFLICT, problem)
    if responder_id is None:
        problem = f"{request.issuer_id} has no OCSP responder; issue an {Profile.OCSP_RESPONDER} certificate"
        return Rejection(RejectionCode.NOT_FOUND, problem)
    if not isinstance(responder, Issued) or not responder.not_before <= context.at <= responder.not_after:
        problem = f"the responder {responder_id} is not an issued and valid certificate"
        return Rejection(RejectionCode.CONFLICT, problem)
    if responder.profile is not Profile.OCSP_RESPONDER or responder.issuer_id != request.issuer_id:
        problem = f"{responder_id} is not an {Profile.OCSP_RESPONDER} certificate issued by {request.issuer_id}"
        return Rejection(RejectionCode.NOT_ALLOWED, problem)
    if responder.key_id is None:
        problem = f"the key of the responder {responder_id} has no key_id; import or issue its certificate with one"
        return Rejection(RejectionCode.CONFLICT, problem)
    at = context.at.replace(microsecond=0)
    plan = BatchPlan(
        request=request,
        issuer_certificate_pem=fetched.issuer.certificate_pem,
        responder_id=responder_id,
        responder_serial=responder.serial,
        responder_certificate_pem=responder.certificate_pem,
        signing_key_id=responder.key_id,
        at=at,
        next_update=min(at + fetched.policy.validity, responder.not_after),
    )
    capacity = batch_capacity(responder.certificate_pem)
    if len(request.certificate_ids) > capacity:
        problem = f"a batch of {responder_id} has room for at most {capacity} certificates; name fewer"
        return Rejection(RejectionCode.INVALID, problem)
    return Perform(FetchStatuses(plan, capacity))


def _build(fetched: StatusesFetched) -> OcspDecision:
    if fetched.unknown:
        issuer_id, ids = fetched.plan.request.issuer_id, ", ".join(fetched.unknown)
        return Rejection(RejectionCode.NOT_FOUND, f"{issuer_id} has issued no certificates {ids}")
    if not fetched.statuses:
        return AlreadyDone({"because": f"{fetched.plan.request.issuer_id} has no certificates that need a response"})
    revoked = [each.revoked_at for each in fetched.statuses if each.revoked_at is not None]
    return Perform(BuildResponses(fetched, max(fetched.plan.at, *revoked) if revoked else fetched.plan.at))


def _prepared_event(built: ResponsesBuilt) -> OcspPrepared:
    fetched = built.effect.fetched
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
            for each in built.responses
        ),
        this_update=built.effect.this_update,
        next_update=plan.next_update,
        everyone=not request.certificate_ids,
        more_after=fetched.more_after,
        through=fetched.through,
    )


def _attach_signatures(batch: OcspBatch, command: PublishOcsp) -> OcspDecision:
    match batch:
        case Unborn():
            return Rejection(RejectionCode.NOT_FOUND, f"there is no batch {command.batch_id}; ocsp.prepare creates one")
        case Prepared(answers=responses) if len(responses) != len(command.signatures):
            problem = f"the batch has {len(responses)} responses: it needs as many signatures, in the same order"
            return Rejection(RejectionCode.INVALID, problem)
        case Prepared():
            return Perform(AttachSignatures(command.batch_id, batch, command.signatures))
        case Published():
            return AlreadyDone()
        case _:
            assert_never(batch)


def _published_event(assembled: ResponsesAssembled) -> OcspPublished:
    """Sets the next batch due after half of the validity."""
    batch = assembled.effect.batch
    return OcspPublished(
        batch_id=assembled.effect.batch_id,
        issuer_id=batch.issuer_id,
        responder_id=batch.responder_id,
        answers=assembled.responses,
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
