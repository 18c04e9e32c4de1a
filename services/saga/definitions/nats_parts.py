"""Steps that the sagas of NATS share: a key; a JWT about it that is created, signed and attached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.saga.core.definition import Step, Undo
from services.saga.core.state import Saga
from services.saga.definitions.parts import key_undone
from shared.contracts.certificate.nats_jwt import (
    CreateNatsJwt,
    NatsJwtCreated,
    NatsJwtRevoked,
    NatsJwtSigned,
    RevokeNatsJwt,
    SignNatsJwt,
)
from shared.contracts.key.commands import ExportKey, GenerateKey, SignWithKey
from shared.contracts.key.events import KeyExported, KeyGenerated, KeySigned
from shared.contracts.key.value_types import Algorithm, PrivateKeyFormat, Purpose

AnySaga = Saga[Any]
PURPOSES = {
    "operator": Purpose.NATS_OPERATOR,
    "system-account": Purpose.NATS_ACCOUNT,
    "account": Purpose.NATS_ACCOUNT,
    "user": Purpose.NATS_USER,
}


def key_of(entity: str) -> Step[Any]:
    """Makes the step that generates the key of an operator, account or user; only a user's seed is exportable."""

    def generate(saga: AnySaga) -> GenerateKey:
        return GenerateKey(
            key_id=saga.id_of(entity),
            algorithm=Algorithm.ED25519,
            purpose=PURPOSES[entity],
            exportable=entity == "user",
            owner=str(getattr(saga.request, entity.replace("-", "_"), entity)),
        )

    undo: tuple[Undo[Any], ...] = key_undone(lambda saga: saga.id_of(entity), "the provisioning was undone")
    return Step(generate, KeyGenerated, undo=undo, name=f"generate-{entity}-key")


def jwt_of(entity: str, create: Callable[[AnySaga], CreateNatsJwt]) -> tuple[Step[Any], ...]:
    """Makes the steps that create a JWT, have it signed by the issuer's key, and attach the signature."""

    def sign(saga: AnySaga) -> SignWithKey:
        created = created_of(saga, entity)
        return SignWithKey(
            key_id=created.signing_key_id,
            message=created.tbs,
            signature_algorithm=created.signature_algorithm,
            purpose=Purpose.NATS_ACCOUNT if entity == "user" else Purpose.NATS_OPERATOR,
        )

    def attach(saga: AnySaga) -> SignNatsJwt:
        signed = next(each.event for each in saga.outcomes if each.step == f"sign-{entity}")
        assert isinstance(signed, KeySigned)
        return SignNatsJwt(nats_jwt_id=created_of(saga, entity).nats_jwt_id, signature=signed.signature)

    def revoke(saga: AnySaga) -> RevokeNatsJwt:
        return RevokeNatsJwt(nats_jwt_id=saga.id_of(entity), reason="the provisioning was undone", void_if_absent=True)

    return (
        Step(create, NatsJwtCreated, undo=(Undo(revoke, NatsJwtRevoked),), name=f"create-{entity}"),
        Step(sign, KeySigned, name=f"sign-{entity}"),
        Step(attach, NatsJwtSigned, name=f"attach-{entity}"),
    )


def export_user_seed(saga: AnySaga) -> ExportKey:
    return ExportKey(
        key_id=saga.id_of("user"),
        recipient_public_key=saga.request.recipient_public_key,
        format=PrivateKeyFormat.NKEY_SEED,
    )


EXPORT_SEED: Step[Any] = Step(export_user_seed, KeyExported)


def nkey_of(saga: AnySaga, entity: str) -> str:
    generated = next(each.event for each in saga.outcomes if each.step == f"generate-{entity}-key")
    assert isinstance(generated, KeyGenerated)
    assert generated.nkey is not None
    return generated.nkey


def created_of(saga: AnySaga, entity: str) -> NatsJwtCreated:
    created = next(each.event for each in saga.outcomes if each.step == f"create-{entity}")
    assert isinstance(created, NatsJwtCreated)
    return created


def jwt_text(saga: AnySaga, entity: str) -> str:
    signed = next(each.event for each in saga.outcomes if each.step == f"attach-{entity}")
    assert isinstance(signed, NatsJwtSigned)
    return signed.jwt
