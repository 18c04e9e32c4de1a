"""Issues a user in an existing NATS account; revokes a user, forward only."""

from __future__ import annotations

from services.saga.core.definition import Definition, Step
from services.saga.core.state import Saga
from services.saga.definitions.nats_parts import EXPORT_SEED, jwt_of, jwt_text, key_of, nkey_of
from services.saga.definitions.parts import UNATTENDED
from shared.contracts.certificate.nats_jwt import (
    CreateNatsJwt,
    NatsEntity,
    NatsJwtCreated,
    NatsJwtRevoked,
    NatsJwtSigned,
    ReviseNatsJwt,
    RevokeNatsJwt,
    SignNatsJwt,
)
from shared.contracts.key.commands import ExportPublicKey, RevokeKey, SignWithKey
from shared.contracts.key.events import KeyExported, KeyRevoked, KeySigned, PublicKeyExported
from shared.contracts.key.value_types import PublicKeyFormat, Purpose
from shared.contracts.saga.nats import (
    NatsUserIssuanceCompleted,
    NatsUserRevocationCompleted,
    StartNatsUserIssuance,
    StartNatsUserRevocation,
)

Issuance = Saga[StartNatsUserIssuance]
Revocation = Saga[StartNatsUserRevocation]


def export_account_key(saga: Issuance) -> ExportPublicKey:
    return ExportPublicKey(key_id=saga.request.account_key_id, format=PublicKeyFormat.NKEY)


def create_user(saga: Issuance) -> CreateNatsJwt:
    return CreateNatsJwt(
        nats_jwt_id=saga.id_of("user"),
        entity=NatsEntity.USER,
        name=saga.request.user,
        subject=nkey_of(saga, "user"),
        issuer=saga.outcome(PublicKeyExported).public_key,
        signing_key_id=saga.request.account_key_id,
        permissions=saga.request.permissions,
        validity_days=saga.request.validity_days,
    )


def complete_issuance(saga: Issuance) -> NatsUserIssuanceCompleted:
    return NatsUserIssuanceCompleted(
        **saga.heading,
        user_jwt=jwt_text(saga, "user"),
        user_nkey=nkey_of(saga, "user"),
        user_key_id=saga.id_of("user"),
        sealed_user_seed=saga.outcome(KeyExported).sealed_key,
    )


def revise_account(saga: Revocation) -> ReviseNatsJwt:
    return ReviseNatsJwt(nats_jwt_id=saga.request.account_key_id, revoke_users=(saga.request.user_nkey,))


def sign_account(saga: Revocation) -> SignWithKey:
    created = saga.outcome(NatsJwtCreated)
    return SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.NATS_OPERATOR,
    )


def attach_signature(saga: Revocation) -> SignNatsJwt:
    return SignNatsJwt(
        nats_jwt_id=saga.request.account_key_id,
        signature=saga.outcome(KeySigned).signature,
        version=saga.outcome(NatsJwtCreated).version,
    )


def revoke_user_jwt(saga: Revocation) -> RevokeNatsJwt:
    return RevokeNatsJwt(nats_jwt_id=saga.request.user_key_id, reason=saga.request.reason, void_if_absent=True)


def revoke_user_key(saga: Revocation) -> RevokeKey:
    return RevokeKey(key_id=saga.request.user_key_id, reason=saga.request.reason)


def complete_revocation(saga: Revocation) -> NatsUserRevocationCompleted:
    signed = saga.outcome(NatsJwtSigned)
    return NatsUserRevocationCompleted(**saga.heading, account_jwt=signed.jwt, version=signed.version)


NATS_USER_ISSUANCE = Definition(
    saga_type="nats-user-issuance",
    request=StartNatsUserIssuance,
    completed=complete_issuance,
    steps=(Step(export_account_key, PublicKeyExported), key_of("user"), *jwt_of("user", create_user), EXPORT_SEED),
)
# fmt: off
NATS_USER_REVOCATION = Definition(
    saga_type="nats-user-revocation",
    request=StartNatsUserRevocation,
    completed=complete_revocation,
    forward_only=True,
    steps=(
        Step(revise_account,   NatsJwtCreated, **UNATTENDED),
        Step(sign_account,     KeySigned,      **UNATTENDED),
        Step(attach_signature, NatsJwtSigned,  **UNATTENDED),
        Step(revoke_user_jwt,  NatsJwtRevoked, **UNATTENDED, already_done_ok=True),
        Step(revoke_user_key,  KeyRevoked,     **UNATTENDED, already_done_ok=True),
    ),
)
# fmt: on
