"""When a JWT of NATS may be created, revised, signed and revoked. Pure: no clock, no randomness, no IO."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.nats_jwt.claims import signing_input
from services.certificate.nats_jwt.states import Created, Issued, NatsJwt, Revoked, Unborn
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
from shared.contracts.key.vocabulary import SignatureAlgorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection


@dataclass(frozen=True, slots=True)
class CheckSignature:
    """Whether *signature* over *tbs* is by the key that NATS writes as *issuer*."""

    issuer: str
    tbs: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignatureChecked:
    asked: CheckSignature
    good: bool


Decision = NatsJwtEvent | Rejection | AlreadyDone | Perform[CheckSignature]


def decide(jwt: NatsJwt, message: NatsJwtCommand | SignatureChecked, context: Context) -> Decision:
    match message:
        case CreateNatsJwt():
            return _create(jwt, message, context)
        case ReviseNatsJwt():
            return _revise(jwt, message, context)
        case SignNatsJwt():
            return _sign(jwt, message)
        case SignatureChecked():
            return _signed(jwt, message)
        case RevokeNatsJwt():
            return _revoke(jwt, message)
        case _:
            assert_never(message)


def _create(jwt: NatsJwt, wish: CreateNatsJwt, context: Context) -> Decision:
    match jwt:
        case Unborn():
            return _created(wish, (), 1, context)
        case Created(wish=before) | Issued(wish=before) if before == wish:
            return AlreadyDone()
        case Created() | Issued() | Revoked():
            problem = f"there was a JWT about key {wish.nats_jwt_id} already"
            return _conflict(f"{problem}: nats-jwt.revise changes an account's; else make another key")
        case _:
            assert_never(jwt)


def _revise(jwt: NatsJwt, wish: ReviseNatsJwt, context: Context) -> Decision:
    match jwt:
        case Issued(wish=before) if before.entity is NatsEntity.ACCOUNT:
            limits = before.limits if wish.limits is None else wish.limits
            if not wish.revoke_users and limits == before.limits:
                return AlreadyDone()
            revoked = _revoked(jwt.revoked_users, wish.revoke_users, int(context.at.timestamp()))
            return _created(before.model_copy(update={"limits": limits}), revoked, jwt.version + 1, context)
        case Issued():
            return _conflict(f"{wish.nats_jwt_id} is no account's: it is made once, or revoked")
        case Created() if _includes(jwt, wish):
            return _announced(jwt.wish, base64.b64decode(jwt.tbs), jwt.revoked_users, jwt.version)
        case Created():  # somebody else's revision, say: over in a moment
            problem = f"the JWT {wish.nats_jwt_id} waits for its signature; try again when it is signed"
            return Rejection(RejectionCode.CONFLICT, problem, retryable=True)
        case Unborn():
            return _missing(wish.nats_jwt_id)
        case Revoked():
            return _conflict(f"the JWT {wish.nats_jwt_id} is revoked")
        case _:
            assert_never(jwt)


def _revoked(before: tuple[RevokedNatsUser, ...], nkeys: tuple[str, ...], since: int) -> tuple[RevokedNatsUser, ...]:
    """Who was revoked before is so from now on, if it is said again: what was issued in between is void as well."""
    kept = tuple(each for each in before if each.nkey not in nkeys)
    return kept + tuple(RevokedNatsUser(nkey=nkey, since=since) for nkey in dict.fromkeys(nkeys))


def _created(
    wish: CreateNatsJwt, revoked: tuple[RevokedNatsUser, ...], version: int, context: Context
) -> NatsJwtCreated:
    return _announced(wish, signing_input(wish, revoked, context.at), revoked, version)


def _includes(pending: Created, wish: ReviseNatsJwt) -> bool:
    """Whether it is this revision that waits for its signature: it is asked for again, its answer was lost."""
    newest = max((each.since for each in pending.revoked_users), default=0)
    newly = {each.nkey for each in pending.revoked_users if each.since == newest}
    return pending.version > 1 and set(wish.revoke_users) <= newly and wish.limits in (None, pending.wish.limits)


def _announced(wish: CreateNatsJwt, tbs: bytes, revoked: tuple[RevokedNatsUser, ...], version: int) -> NatsJwtCreated:
    return NatsJwtCreated(
        nats_jwt_id=wish.nats_jwt_id,
        entity=wish.entity,
        name=wish.name,
        subject=wish.subject,
        issuer=wish.issuer,
        signing_key_id=wish.signing_key_id,
        signature_algorithm=SignatureAlgorithm.ED25519,
        tbs=tbs,
        tbs_sha256=sha256(tbs).hexdigest(),
        limits=wish.limits,
        permissions=wish.permissions,
        system_account=wish.system_account,
        validity_days=wish.validity_days,
        revoked_users=revoked,
        version=version,
    )


def _sign(jwt: NatsJwt, command: SignNatsJwt) -> Decision:
    match jwt:
        case Created(wish=wish, tbs=tbs) if command.version in (None, jwt.version):
            return Perform(CheckSignature(wish.issuer, base64.b64decode(tbs), command.signature))
        case Created():
            problem = f"version {jwt.version} of the JWT waits for a signature, not version {command.version}"
            return Rejection(RejectionCode.CONFLICT, problem, retryable=True)
        case Issued() if command.version is not None and command.version <= jwt.version:
            return _attached(jwt.wish, jwt.jwt, jwt.version)  # whatever the earlier one revoked, this one does
        case Issued():
            return AlreadyDone()
        case Unborn():
            return _missing(command.nats_jwt_id)
        case Revoked():
            return _conflict(f"the JWT {command.nats_jwt_id} is revoked")
        case _:
            assert_never(jwt)


def _signed(jwt: NatsJwt, checked: SignatureChecked) -> NatsJwtSigned | Rejection:
    if not isinstance(jwt, Created) or not checked.good:
        return Rejection(RejectionCode.INVALID, f"the signature is not by {checked.asked.issuer} over the tbs")
    signature = base64.urlsafe_b64encode(checked.asked.signature).rstrip(b"=")
    return _attached(jwt.wish, (checked.asked.tbs + b"." + signature).decode(), jwt.version)


def _attached(wish: CreateNatsJwt, jwt: str, version: int) -> NatsJwtSigned:
    return NatsJwtSigned(
        nats_jwt_id=wish.nats_jwt_id,
        entity=wish.entity,
        subject=wish.subject,
        issuer=wish.issuer,
        jwt=jwt,
        version=version,
    )


def _revoke(jwt: NatsJwt, command: RevokeNatsJwt) -> Decision:
    match jwt:
        case Created(wish=wish) | Issued(wish=wish):
            return NatsJwtRevoked(nats_jwt_id=command.nats_jwt_id, reason=command.reason, subject=wish.subject)
        case Unborn() if command.void_if_absent:
            return NatsJwtRevoked(nats_jwt_id=command.nats_jwt_id, reason=command.reason, existed=False)
        case Unborn():
            return _missing(command.nats_jwt_id)
        case Revoked():
            return AlreadyDone()
        case _:
            assert_never(jwt)


def evolve(jwt: NatsJwt, event: NatsJwtEvent) -> NatsJwt:
    match event:
        case NatsJwtCreated():
            fields = CreateNatsJwt.model_fields.keys()
            wish = CreateNatsJwt(**{name: getattr(event, name) for name in fields})
            tbs = base64.b64encode(event.tbs).decode()
            return Created(wish, tbs, event.version, event.revoked_users)
        case NatsJwtSigned(jwt=text, version=version):
            return Issued(jwt.wish, text, version, jwt.revoked_users) if isinstance(jwt, Created) else jwt
        case NatsJwtRevoked(existed=existed):
            return Revoked(existed)
        case _:
            assert_never(event)


def _missing(nats_jwt_id: str) -> Rejection:
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
)
