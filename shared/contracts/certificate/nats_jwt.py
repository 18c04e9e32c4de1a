"""Commands and events of NATS JWTs (operators, accounts, users).

The flow is that of certificates: the service builds the claims, a key in custody signs them, the service attaches the
signature. The id of a JWT is the id of its subject's key, so a key has one JWT, and a later version replaces it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from shared.contracts.base import Base64, Command, Event, Fingerprint, Id, Message, Name, Text, ValidityDays
from shared.contracts.key.value_types import SignatureAlgorithm, Value


class NatsEntity(StrEnum):
    OPERATOR = "operator"
    ACCOUNT = "account"
    USER = "user"


OperatorNkey = Annotated[str, StringConstraints(pattern=r"^O[A-Z2-7]{55}$")]
AccountNkey = Annotated[str, StringConstraints(pattern=r"^A[A-Z2-7]{55}$")]
UserNkey = Annotated[str, StringConstraints(pattern=r"^U[A-Z2-7]{55}$")]
SubjectPattern = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
_Patterns = Annotated[tuple[SubjectPattern, ...], Field(max_length=256)]
_Amount = Annotated[int, Field(ge=-1)]
Jwt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=65_536)]


class NatsPermissions(Value):
    """Subjects that a user may publish and subscribe to; without any, all subjects of its account."""

    publish_allow: _Patterns = ()
    publish_deny: _Patterns = ()
    subscribe_allow: _Patterns = ()
    subscribe_deny: _Patterns = ()


class RevokedNatsUser(Value):
    """A revocation in an account: JWTs of this user issued before *since* (Unix seconds) are void."""

    nkey: UserNkey
    since: Annotated[int, Field(ge=0)]


class NatsAccountLimits(Value):
    """Limits of an account; -1 means unlimited."""

    connections: _Amount = -1
    subscriptions: _Amount = -1
    payload_bytes: _Amount = -1
    jetstream: bool = Field(default=False, description="true: the account may have streams")


class NatsJwtMessage(Message):
    aggregate_type: ClassVar[str] = "nats-jwt"
    identified_by: ClassVar[str] = "nats_jwt_id"
    service: ClassVar[str] = "certificate"


class CreateNatsJwt(NatsJwtMessage, Command):
    """Build the claims of a JWT for the issuer's key to sign."""

    nats_jwt_id: Id = Field(description="id of the subject's key")
    entity: NatsEntity
    name: Name
    subject: OperatorNkey | AccountNkey | UserNkey
    issuer: OperatorNkey | AccountNkey = Field(description="for an operator, its own subject")
    signing_key_id: Id = Field(description="the issuer's")
    system_account: AccountNkey | None = Field(default=None, description="of an operator")
    limits: NatsAccountLimits = NatsAccountLimits()
    permissions: NatsPermissions = NatsPermissions()
    validity_days: ValidityDays | None = Field(default=None, description="default: no expiry")

    @model_validator(mode="after")
    def _subject_matches_issuer(self) -> Self:
        letters = {NatsEntity.OPERATOR: "OO", NatsEntity.ACCOUNT: "AO", NatsEntity.USER: "UA"}[self.entity]
        if (self.subject[0], self.issuer[0]) != tuple(letters):
            raise ValueError(f"the {self.entity}'s subject begins with {letters[0]} and its issuer with {letters[1]}")
        if self.entity is NatsEntity.OPERATOR and self.subject != self.issuer:
            raise ValueError("an operator issues its own: subject and issuer are the same")
        if self.system_account is not None and self.entity is not NatsEntity.OPERATOR:
            raise ValueError("only an operator has a system_account")
        return self


class ReviseNatsJwt(NatsJwtMessage, Command):
    """Build the next version of an account's JWT, with revoked users or other limits."""

    nats_jwt_id: Id
    revoke_users: Annotated[tuple[UserNkey, ...], Field(max_length=256)] = ()
    limits: NatsAccountLimits | None = None


class SignNatsJwt(NatsJwtMessage, Command):
    """Attach the signature to the claims."""

    nats_jwt_id: Id
    signature: Base64 = Field(min_length=64, max_length=64)
    version: int | None = Field(default=None, ge=1, description="of the signed JWT; default: the unsigned one")


class RevokeNatsJwt(NatsJwtMessage, Command):
    """Revoke the JWT. The server rejects a revoked user only after the account's next JWT (`revise`)."""

    nats_jwt_id: Id
    reason: Text = "unspecified"
    void_if_absent: bool = False


class NatsJwtCreated(NatsJwtMessage, Event):
    nats_jwt_id: Id
    entity: NatsEntity
    name: Name
    subject: str
    issuer: str
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    tbs: Base64 = Field(description="header and claims in base64url, joined by a dot: the bytes to sign")
    tbs_sha256: Fingerprint
    limits: NatsAccountLimits
    permissions: NatsPermissions
    system_account: AccountNkey | None
    validity_days: ValidityDays | None
    revoked_users: tuple[RevokedNatsUser, ...] = ()
    version: int = Field(ge=1, description="counts the JWTs of this key")


class NatsJwtSigned(NatsJwtMessage, Event):
    nats_jwt_id: Id
    entity: NatsEntity
    subject: str
    issuer: str
    jwt: Jwt
    version: int


class NatsJwtRevoked(NatsJwtMessage, Event):
    nats_jwt_id: Id
    reason: Text
    subject: str | None = None
    existed: bool = True


NatsJwtCommand = CreateNatsJwt | ReviseNatsJwt | SignNatsJwt | RevokeNatsJwt
NatsJwtEvent = NatsJwtCreated | NatsJwtSigned | NatsJwtRevoked
