"""Decider of an issuer's CRLs: when to build the next one, its content, its publication. Pure.

A CRL is a fold over the log up to the sequence *through* of its event, so anybody can reproduce it (docs/adr/0009).
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
    CrlEffect,
    CrlIssuer,
    CrlOutcome,
    CrlSignatureInvalid,
    GatherRevocations,
    RevocationsGathered,
)
from services.certificate.crl.states import CrlState, PendingCrl, PublishedCrl
from services.certificate.profiles import PROFILES
from services.certificate.revocation.register import RevocationEntry
from shared.contracts.certificate.commands import CreateCrl, PublishCrl
from shared.contracts.certificate.events import CrlCreated, CrlPublished
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Perform, Rejection

MAX_TBS_BYTES = 524_288
"""The limit of `key.sign`, and the size that a NATS message holds in base64."""

CrlDecision = CrlCreated | CrlPublished | Rejection | AlreadyDone | Perform[CrlEffect]


def decide(
    issuer: CrlIssuer, crl: CrlState | None, message: CreateCrl | PublishCrl | CrlOutcome, context: Context
) -> CrlDecision:
    """Decides for an *issuer* that is issued; *crl* is None before its first CRL."""
    match message:
        case CreateCrl():
            return _gather_revocations(issuer, context)
        case RevocationsGathered():
            return _build(crl, message, context)
        case CrlBuilt():
            return _created_event(message)
        case PublishCrl():
            return _attach_signature(issuer, crl, message)
        case CrlAssembled():
            return _published_event(message)
        case CrlSignatureInvalid(effect=effect):
            problem = (
                f"the signature does not verify with the key of {effect.issuer_id} over its CRL {effect.crl.number},"
                " the newest one; give its `number` if you signed another"
            )
            return Rejection(RejectionCode.INVALID, problem)
        case _:
            assert_never(message)


def evolve(crl: CrlState | None, event: CrlCreated | CrlPublished) -> CrlState | None:
    match event:
        case CrlCreated():
            pending = PendingCrl(
                number=event.number,
                this_update=event.this_update,
                next_update=event.next_update,
                through=event.through,
                entries=event.entries,
                tbs=base64.b64encode(event.tbs).decode(),
                tbs_sha256=event.tbs_sha256,
                signing_key_id=event.signing_key_id,
                signature_algorithm=event.signature_algorithm,
            )
            published = None if crl is None else crl.published
            return CrlState(number=event.number, this_update=event.this_update, published=published, pending=pending)
        case CrlPublished():
            if crl is None or crl.pending is None:
                return crl  # `decide` never publishes a CRL that is not pending
            published = PublishedCrl(
                number=event.number,
                this_update=event.this_update,
                through=crl.pending.through,
                next_at=event.next_at,
            )
            return replace(crl, published=published, pending=None)
        case _:
            assert_never(event)


def no_further_crl(issuer_id: str, status: str) -> AlreadyDone:
    """Accepts a late timer, or a late request after a revocation, without a CRL (ADR 0009, Timers)."""
    return AlreadyDone({"because": f"{issuer_id} is {status} and issues no further CRL"})


def _gather_revocations(issuer: CrlIssuer, context: Context) -> CrlDecision:
    if context.at > issuer.not_after:
        return no_further_crl(issuer.certificate_id, "expired")
    if not PROFILES[issuer.profile].is_ca:
        problem = f"{issuer.certificate_id} is a {issuer.profile} certificate and not a CA certificate: it has no CRL"
        return Rejection(RejectionCode.NOT_ALLOWED, problem)
    if issuer.key_id is None:
        problem = f"the key of {issuer.certificate_id} has no key_id, so no key here can sign its CRL"
        return Rejection(RejectionCode.CONFLICT, problem)
    return Perform(GatherRevocations(issuer, issuer.key_id))


def _build(crl: CrlState | None, gathered: RevocationsGathered, context: Context) -> CrlDecision:
    issuer, policy = gathered.effect.issuer, gathered.policy
    published = None if crl is None else crl.published
    if published is not None and gathered.last_change <= published.through and context.at < published.next_at:
        return AlreadyDone({"number": published.number})
    listed = [entry for entry in gathered.revocations if _is_listed(entry, published)]
    listed.sort(key=lambda entry: entry.serial)
    this_update = _this_update(context.at, crl, listed)
    return Perform(
        BuildCrl(
            issuer_id=issuer.certificate_id,
            issuer_certificate_pem=issuer.certificate_pem,
            signing_key_id=gathered.effect.key_id,
            number=max(1 if crl is None else crl.number + 1, int(this_update.timestamp())),
            this_update=this_update,
            next_update=this_update + policy.period + policy.overlap,
            through=gathered.through,
            revocations=tuple(listed),
        )
    )


def _is_listed(revocation: RevocationEntry, published: PublishedCrl | None) -> bool:
    """Keeps an entry until one CRL issued after the certificate's expiry has listed it (RFC 5280, 3.3)."""
    return (
        published is None
        or revocation.not_after is None
        or revocation.not_after >= published.this_update
        or revocation.sequence > published.through
    )


def _this_update(at: datetime, crl: CrlState | None, listed: list[RevocationEntry]) -> datetime:
    """Returns the time of the command, but none before the previous CRL or before a listed revocation."""
    times = [at.replace(microsecond=0), *(each.at for each in listed)]
    return max(times if crl is None else [crl.this_update, *times])


def _created_event(built: CrlBuilt) -> CrlCreated | Rejection:
    effect = built.effect
    if len(built.tbs) > MAX_TBS_BYTES:
        problem = (
            f"the CRL of {effect.issuer_id} would list {len(effect.revocations)} certificates"
            f" in {len(built.tbs)} octets; the limit is {MAX_TBS_BYTES}. "
            "Issue further certificates with another CA: expired certificates leave this CRL"
        )
        return Rejection(RejectionCode.CONFLICT, problem)
    return CrlCreated(
        certificate_id=effect.issuer_id,
        number=effect.number,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        signing_key_id=effect.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        this_update=effect.this_update,
        next_update=effect.next_update,
        entries=len(effect.revocations),
        through=effect.through,
    )


def _attach_signature(issuer: CrlIssuer, crl: CrlState | None, command: PublishCrl) -> CrlDecision:
    issuer_id, number = issuer.certificate_id, command.number
    if crl is None:
        return Rejection(RejectionCode.CONFLICT, f"{issuer_id} has no CRL to sign; certificate.create-crl builds one")
    if number is not None and number > crl.number:
        problem = f"{issuer_id} has no CRL {number}; its newest is {crl.number}"
        return Rejection(RejectionCode.INVALID, problem)
    if number is not None and (crl.pending is None or number < crl.pending.number):
        return AlreadyDone({"because": f"CRL {crl.number} replaces CRL {number}"})
    if crl.pending is None:
        problem = f"no CRL of {issuer_id} waits for a signature; certificate.create-crl builds the next"
        return Rejection(RejectionCode.CONFLICT, problem)
    return Perform(
        AttachCrlSignature(
            issuer_id=issuer_id,
            issuer_certificate_pem=issuer.certificate_pem,
            crl=crl.pending,
            signature=command.signature,
        )
    )


def _published_event(assembled: CrlAssembled) -> CrlPublished:
    crl = assembled.effect.crl
    return CrlPublished(
        certificate_id=assembled.effect.issuer_id,
        number=crl.number,
        crl_pem=assembled.crl_pem,
        fingerprint_sha256=assembled.fingerprint_sha256,
        this_update=crl.this_update,
        next_update=crl.next_update,
        entries=crl.entries,
        next_at=crl.this_update + assembled.policy.period,
    )
