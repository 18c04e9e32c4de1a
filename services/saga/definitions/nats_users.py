"""A user more in an account of NATS that there is; and one that is not to be let in any more, which has no way back."""

from __future__ import annotations

from services.saga.core.definition import Definition, Step
from services.saga.core.state import Saga
from services.saga.definitions.nats_parts import SEED, jwt_of, jwt_text, key_of, nkey_of
from services.saga.definitions.parts import PATIENT, PATIENTLY
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
        issuer=saga.answer(PublicKeyExported).public_key,
        signing_key_id=saga.request.account_key_id,
        permissions=saga.request.permissions,
        validity_days=saga.request.validity_days,
    )


def issued(saga: Issuance) -> NatsUserIssuanceCompleted:
    return NatsUserIssuanceCompleted(
        **saga.heading,
        user_jwt=jwt_text(saga, "user"),
        user_nkey=nkey_of(saga, "user"),
        user_key_id=saga.id_of("user"),
        sealed_user_seed=saga.answer(KeyExported).sealed_key,
    )


def revise_account(saga: Revocation) -> ReviseNatsJwt:
    return ReviseNatsJwt(nats_jwt_id=saga.request.account_key_id, revoke_users=(saga.request.user_nkey,))


def sign_account(saga: Revocation) -> SignWithKey:
    created = saga.answer(NatsJwtCreated)
    return SignWithKey(
        key_id=created.signing_key_id,
        message=created.tbs,
        signature_algorithm=created.signature_algorithm,
        purpose=Purpose.NATS_OPERATOR,
    )


def attach_signature(saga: Revocation) -> SignNatsJwt:
    return SignNatsJwt(
        nats_jwt_id=saga.request.account_key_id,
        signature=saga.answer(KeySigned).signature,
        version=saga.answer(NatsJwtCreated).version,
    )


def revoke_user_jwt(saga: Revocation) -> RevokeNatsJwt:
    return RevokeNatsJwt(nats_jwt_id=saga.request.user_key_id, reason=saga.request.reason, void_if_absent=True)


def revoke_user_key(saga: Revocation) -> RevokeKey:
    return RevokeKey(key_id=saga.request.user_key_id, reason=saga.request.reason)


def revoked(saga: Revocation) -> NatsUserRevocationCompleted:
    signed = saga.answer(NatsJwtSigned)
    return NatsUserRevocationCompleted(**saga.heading, account_jwt=signed.jwt, version=signed.version)


NATS_USER_ISSUANCE = Definition(
    saga_type="nats-user-issuance",
    request=StartNatsUserIssuance,
    completed=issued,
    steps=(Step(export_account_key, PublicKeyExported), key_of("user"), *jwt_of("user", create_user), SEED),
)
# fmt: off
NATS_USER_REVOCATION = Definition(
    saga_type="nats-user-revocation",
    request=StartNatsUserRevocation,
    completed=revoked,
    forward=True,
    steps=(
        Step(revise_account,   NatsJwtCreated, within=PATIENTLY, retry=PATIENT),
        Step(sign_account,     KeySigned,      within=PATIENTLY, retry=PATIENT),
        Step(attach_signature, NatsJwtSigned,  within=PATIENTLY, retry=PATIENT),
        Step(revoke_user_jwt,  NatsJwtRevoked, within=PATIENTLY, retry=PATIENT, may_stand=True),
        Step(revoke_user_key,  KeyRevoked,     within=PATIENTLY, retry=PATIENT, may_stand=True),
    ),
)
# fmt: on
