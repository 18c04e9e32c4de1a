"""Decider of NATS JWTs: create, revise, sign, revoke. Pure: no clock, no randomness, no IO."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.nats_jwt.claims import signing_input
from services.certificate.nats_jwt.effects import CheckSignature, SignatureChecked
from services.certificate.nats_jwt.states import STATE_VERSION, Created, Issued, NatsJwt, Revoked, Unborn
from shared.contracts.certificate.nats_jwt import (
    CreateNatsJwt,
    NatsEntity,
    NatsJwtCommand,
    NatsJwtCreated,
    NatsJwtEvent,
    NatsJwtRevoked,
    NatsJwtSigned,
    ReviseNatsJwt,
    RevokedNatsUser,
    RevokeNatsJwt,
    SignNatsJwt,
)
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

NatsJwtDecision = NatsJwtEvent | Rejection | AlreadyDone | Perform[CheckSignature]


def decide(jwt: NatsJwt, message: NatsJwtCommand | SignatureChecked, context: Context) -> NatsJwtDecision:
    match message:
        case CreateNatsJwt():
            return _create(jwt, message, context)
        case ReviseNatsJwt():
            return _revise(jwt, message, context)
        case SignNatsJwt():
            return _sign(jwt, message)
        case SignatureChecked():
            return _attach_signature(jwt, message)
        case RevokeNatsJwt():
            return _revoke(jwt, message)
        case _:
            assert_never(message)


def evolve(jwt: NatsJwt, event: NatsJwtEvent) -> NatsJwt:
    match event:
        case NatsJwtCreated():
            request = CreateNatsJwt(**{name: getattr(event, name) for name in CreateNatsJwt.model_fields})
            tbs = base64.b64encode(event.tbs).decode()
            return Created(request=request, tbs=tbs, version=event.version, revoked_users=event.revoked_users)
        case NatsJwtSigned(jwt=text, version=version):
            if not isinstance(jwt, Created):
                return jwt
            return Issued(request=jwt.request, jwt=text, version=version, revoked_users=jwt.revoked_users)
        case NatsJwtRevoked(existed=existed):
            return Revoked(existed)
        case _:
            assert_never(event)


def _create(jwt: NatsJwt, request: CreateNatsJwt, context: Context) -> NatsJwtDecision:
    match jwt:
        case Unborn():
            return _new_version(request, (), 1, context)
        case Created(request=previous) | Issued(request=previous) if previous == request:
            return AlreadyDone()
        case Created() | Issued() | Revoked():
            problem = f"there was a JWT about key {request.nats_jwt_id} already"
            return _conflict(f"{problem}: nats-jwt.revise changes an account's; otherwise generate another key")
        case _:
            assert_never(jwt)


def _revise(jwt: NatsJwt, revision: ReviseNatsJwt, context: Context) -> NatsJwtDecision:
    match jwt:
        case Issued(request=request) if request.entity is NatsEntity.ACCOUNT:
            limits = request.limits if revision.limits is None else revision.limits
            if not revision.revoke_users and limits == request.limits:
                return AlreadyDone()
            revoked = _revoked_users(jwt.revoked_users, revision.revoke_users, int(context.at.timestamp()))
            return _new_version(request.model_copy(update={"limits": limits}), revoked, jwt.version + 1, context)
        case Issued():
            return _conflict(f"{revision.nats_jwt_id} is no account's: only an account's JWT can be revised")
        case Created() if _includes(jwt, revision):
            return _created_event(jwt.request, base64.b64decode(jwt.tbs), jwt.revoked_users, jwt.version)
        case Created():  # another client's revision, usually signed within a moment: worth a retry
            problem = f"the JWT {revision.nats_jwt_id} waits for its signature; try again when it is signed"
            return Rejection(RejectionCode.CONFLICT, problem, retryable=True)
        case Unborn():
            return _not_found(revision.nats_jwt_id)
        case Revoked():
            return _conflict(f"the JWT {revision.nats_jwt_id} is revoked")
        case _:
            assert_never(jwt)


def _revoked_users(
    previous: tuple[RevokedNatsUser, ...], nkeys: tuple[str, ...], since: int
) -> tuple[RevokedNatsUser, ...]:
    """Adds *nkeys*, revoked *since* now; one that was revoked before moves to now, to void JWTs issued in between."""
    kept = tuple(each for each in previous if each.nkey not in nkeys)
    return kept + tuple(RevokedNatsUser(nkey=nkey, since=since) for nkey in dict.fromkeys(nkeys))


def _includes(pending: Created, revision: ReviseNatsJwt) -> bool:
    """Recognises a retry: the unsigned version already contains this *revision*."""
    newest = max((each.since for each in pending.revoked_users), default=0)
    newly = {each.nkey for each in pending.revoked_users if each.since == newest}
    same_limits = revision.limits in (None, pending.request.limits)
    return pending.version > 1 and set(revision.revoke_users) <= newly and same_limits


def _new_version(
    request: CreateNatsJwt, revoked: tuple[RevokedNatsUser, ...], version: int, context: Context
) -> NatsJwtCreated:
    return _created_event(request, signing_input(request, revoked, context.at), revoked, version)


def _created_event(
    request: CreateNatsJwt, tbs: bytes, revoked: tuple[RevokedNatsUser, ...], version: int
) -> NatsJwtCreated:
    return NatsJwtCreated(
        nats_jwt_id=request.nats_jwt_id,
        entity=request.entity,
        name=request.name,
        subject=request.subject,
        issuer=request.issuer,
        signing_key_id=request.signing_key_id,
        signature_algorithm=SignatureAlgorithm.ED25519,
        tbs=tbs,
        tbs_sha256=sha256(tbs).hexdigest(),
        limits=request.limits,
        permissions=request.permissions,
        system_account=request.system_account,
        validity_days=request.validity_days,
        revoked_users=revoked,
        version=version,
    )


def _sign(jwt: NatsJwt, command: SignNatsJwt) -> NatsJwtDecision:
    match jwt:
        case Created(request=request, tbs=tbs) if command.version in (None, jwt.version):
            return Perform(CheckSignature(request.issuer, base64.b64decode(tbs), command.signature))
        case Created():
            problem = f"version {jwt.version} of the JWT waits for a signature, not version {command.version}"
            return Rejection(RejectionCode.CONFLICT, problem, retryable=True)
        case Issued() if command.version is not None and command.version <= jwt.version:
            return _signed_event(jwt.request, jwt.jwt, jwt.version)  # it includes all revocations of earlier versions
        case Issued():
            return AlreadyDone()
        case Unborn():
            return _not_found(command.nats_jwt_id)
        case Revoked():
            return _conflict(f"the JWT {command.nats_jwt_id} is revoked")
        case _:
            assert_never(jwt)


def _attach_signature(jwt: NatsJwt, checked: SignatureChecked) -> NatsJwtSigned | Rejection:
    if not isinstance(jwt, Created) or not checked.is_valid:
        return Rejection(RejectionCode.INVALID, f"the signature is not by {checked.effect.issuer} over the tbs")
    signature = base64.urlsafe_b64encode(checked.effect.signature).rstrip(b"=")
    return _signed_event(jwt.request, (checked.effect.tbs + b"." + signature).decode(), jwt.version)


def _signed_event(request: CreateNatsJwt, jwt: str, version: int) -> NatsJwtSigned:
    return NatsJwtSigned(
        nats_jwt_id=request.nats_jwt_id,
        entity=request.entity,
        subject=request.subject,
        issuer=request.issuer,
        jwt=jwt,
        version=version,
    )


def _revoke(jwt: NatsJwt, command: RevokeNatsJwt) -> NatsJwtDecision:
    match jwt:
        case Created(request=request) | Issued(request=request):
            return NatsJwtRevoked(nats_jwt_id=command.nats_jwt_id, reason=command.reason, subject=request.subject)
        case Unborn() if command.void_if_absent:
            return NatsJwtRevoked(nats_jwt_id=command.nats_jwt_id, reason=command.reason, existed=False)
        case Unborn():
            return _not_found(command.nats_jwt_id)
        case Revoked():
            return AlreadyDone()
        case _:
            assert_never(jwt)


def _not_found(nats_jwt_id: str) -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no JWT {nats_jwt_id}; create it first")


def _conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)


NATS_JWT: Decider[NatsJwt, NatsJwtCommand, NatsJwtEvent, CheckSignature, SignatureChecked] = Decider(
    Unborn(),
    decide,
    evolve,
    commands=get_args(NatsJwtCommand),
    events=get_args(NatsJwtEvent),
    states=TypeAdapter(Annotated[NatsJwt, Field(discriminator="kind")]),
    state_version=STATE_VERSION,
)
