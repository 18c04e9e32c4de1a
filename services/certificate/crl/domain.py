"""When an authority's next CRL is built, what it says, and when it is published. Pure.

The CRL is a fold over the log up to a position that it tells (docs/adr/0009): anybody can make the same one again.
"""

import base64
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import assert_never

from services.certificate.crl.effects import (
    AttachCrlSignature,
    BuildCrl,
    CrlAssembled,
    CrlBuilt,
    CrlOutcome,
    CrlSignatureWrong,
    GatherRevocations,
    RevocationsGathered,
)
from services.certificate.crl.states import CrlStanding, PendingCrl, PublishedCrl
from services.certificate.profiles import PROFILES
from services.certificate.revocation.register import RevocationEntry
from services.certificate.x509.effects import Effect
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import CreateCrl, PublishCrl
from shared.contracts.certificate.events import CrlCreated, CrlPublished
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Perform, Rejection

LARGEST_TBS = 524_288
"""Octets: what `key.sign` takes, and what a message of NATS holds in base64."""

CrlDecision = CrlCreated | CrlPublished | Rejection | AlreadyDone | Perform[Effect]


def decide(certificate: Certificate, message: CreateCrl | PublishCrl | CrlOutcome, context: Context) -> CrlDecision:
    match message:
        case CreateCrl(certificate_id=issuer_id):
            return _create(certificate, issuer_id, context)
        case RevocationsGathered():
            return _build(message, context)
        case CrlBuilt():
            return _created(message)
        case PublishCrl():
            return _publish(certificate, message)
        case CrlAssembled():
            return _published(message)
        case CrlSignatureWrong(plan=plan):
            problem = (
                f"the signature does not verify with the key of {plan.issuer_id} over its CRL {plan.crl.number},"
                " the one built last; say `number` where it is of another"
            )
            return Rejection(RejectionCode.INVALID, problem)
        case _:
            assert_never(message)


def evolve(certificate: Certificate, event: CrlCreated | CrlPublished) -> Certificate:
    if not isinstance(certificate, Issued):
        return certificate  # `decide` leads to no such history
    match event:
        case CrlCreated():
            return replace(certificate, crl=_with_pending(certificate.crl, event))
        case CrlPublished():
            return replace(certificate, crl=_with_published(certificate.crl, event))
        case _:
            assert_never(event)


def _with_pending(crl: CrlStanding | None, event: CrlCreated) -> CrlStanding:
    pending = PendingCrl(
        event.number,
        event.this_update,
        event.next_update,
        event.through,
        event.entries,
        base64.b64encode(event.tbs).decode(),
        event.tbs_sha256,
        event.signing_key_id,
        event.signature_algorithm,
    )
    return CrlStanding(event.number, event.this_update, None if crl is None else crl.published, pending)


def _with_published(crl: CrlStanding | None, event: CrlPublished) -> CrlStanding | None:
    if crl is None or crl.pending is None:
        return crl  # `decide` leads to no such history
    published = PublishedCrl(event.number, event.this_update, crl.pending.through, event.next_at)
    return replace(crl, published=published, pending=None)


def _create(certificate: Certificate, issuer_id: str, context: Context) -> CrlDecision:
    match certificate:
        case Unborn():
            return Rejection(RejectionCode.NOT_FOUND, f"there is no certificate {issuer_id} to issue a CRL with")
        case Created():
            return Rejection(RejectionCode.CONFLICT, f"{issuer_id} is not signed yet; sign it first")
        case Revoked():
            return _no_more(issuer_id, "revoked")
        case Issued():
            return _begin(certificate, issuer_id, context)
        case _:
            assert_never(certificate)


def _begin(issuer: Issued, issuer_id: str, context: Context) -> CrlDecision:
    if context.at > issuer.not_after:
        return _no_more(issuer_id, "expired")
    if not PROFILES[issuer.profile].is_authority:
        problem = f"{issuer_id} is a {issuer.profile} certificate, not that of an authority: it has no CRL"
        return Rejection(RejectionCode.NOT_ALLOWED, problem)
    if issuer.key_id is None:
        problem = f"it is not known which key {issuer_id} is about: there is nobody here to sign its CRL"
        return Rejection(RejectionCode.CONFLICT, problem)
    return Perform(GatherRevocations(issuer_id, issuer, issuer.key_id))


def _no_more(issuer_id: str, why: str) -> AlreadyDone:
    """A timer, or a revocation on its way, may ask for it: that is nobody's mistake (docs/adr/0009, Timers)."""
    return AlreadyDone({"because": f"{issuer_id} is {why}: nobody asks for its CRL any more"})


def _build(gathered: RevocationsGathered, context: Context) -> CrlDecision:
    issuer, crl, policy = gathered.asked.issuer, gathered.asked.issuer.crl, gathered.policy
    published = None if crl is None else crl.published
    if published is not None and gathered.changed <= published.through and context.at < published.next_at:
        return AlreadyDone({"number": published.number})
    listed = [each for each in gathered.revocations if _is_listed(each, published)]
    listed.sort(key=lambda each: each.serial)
    this_update = _this_update(context.at, crl, listed)
    return Perform(
        BuildCrl(
            gathered.asked.issuer_id,
            issuer.certificate_pem,
            gathered.asked.key_id,
            max(1 if crl is None else crl.number + 1, int(this_update.timestamp())),
            this_update,
            this_update + policy.period + policy.overlap,
            gathered.through,
            tuple(listed),
        )
    )


def _is_listed(revocation: RevocationEntry, published: PublishedCrl | None) -> bool:
    """RFC 5280, 3.3: it stays until it was on one CRL that was issued after the certificate's end."""
    return (
        published is None
        or revocation.not_after is None
        or revocation.not_after >= published.this_update
        or revocation.sequence > published.through
    )


def _this_update(at: datetime, crl: CrlStanding | None, listed: list[RevocationEntry]) -> datetime:
    """When it was asked for, but not before the CRL that came before it, nor before what it tells of."""
    known = [at.replace(microsecond=0), *(each.at for each in listed)]
    return max(known if crl is None else [crl.this_update, *known])


def _created(built: CrlBuilt) -> CrlCreated | Rejection:
    plan = built.plan
    if len(built.tbs) > LARGEST_TBS:
        problem = (
            f"the CRL of {plan.issuer_id} would list {len(plan.revocations)} certificates in {len(built.tbs)} octets;"
            f" one may have {LARGEST_TBS}. Issue further certificates with another authority:"
            " what is revoked leaves this CRL when it has expired"
        )
        return Rejection(RejectionCode.CONFLICT, problem)
    return CrlCreated(
        certificate_id=plan.issuer_id,
        number=plan.number,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        signing_key_id=plan.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        this_update=plan.this_update,
        next_update=plan.next_update,
        entries=len(plan.revocations),
        through=plan.through,
    )


def _publish(certificate: Certificate, command: PublishCrl) -> CrlDecision:
    issuer_id = command.certificate_id
    match certificate:
        case Unborn():
            return Rejection(RejectionCode.NOT_FOUND, f"there is no certificate {issuer_id}, and so no CRL of its own")
        case Revoked():
            return _no_more(issuer_id, "revoked")
        case Created():
            return Rejection(RejectionCode.CONFLICT, f"{issuer_id} is not signed yet; sign it first")
        case Issued():
            return _attach(certificate, command)
        case _:
            assert_never(certificate)


def _attach(issuer: Issued, command: PublishCrl) -> CrlDecision:
    issuer_id, number, crl = command.certificate_id, command.number, issuer.crl
    if crl is None:
        return Rejection(RejectionCode.CONFLICT, f"{issuer_id} has no CRL to sign; certificate.create-crl builds one")
    if number is not None and number > crl.number:
        problem = f"{issuer_id} has no CRL {number}; the last that was built for it is {crl.number}"
        return Rejection(RejectionCode.INVALID, problem)
    if number is not None and (crl.pending is None or number < crl.pending.number):
        return AlreadyDone({"because": f"CRL {crl.number} says all that CRL {number} does"})
    if crl.pending is None:
        problem = f"no CRL of {issuer_id} waits for a signature; certificate.create-crl builds the next"
        return Rejection(RejectionCode.CONFLICT, problem)
    return Perform(AttachCrlSignature(issuer_id, issuer.certificate_pem, crl.pending, command.signature))


def _published(assembled: CrlAssembled) -> CrlPublished:
    crl = assembled.plan.crl
    return CrlPublished(
        certificate_id=assembled.plan.issuer_id,
        number=crl.number,
        crl_pem=assembled.crl_pem,
        fingerprint_sha256=assembled.fingerprint_sha256,
        this_update=crl.this_update,
        next_update=crl.next_update,
        entries=crl.entries,
        next_at=crl.this_update + assembled.policy.period,
    )
