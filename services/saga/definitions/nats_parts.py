"""What the sagas of NATS do in the same way: make a key, have a JWT about it created, signed and attached."""

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


def key_of(who: str) -> Step[Any]:
    """Make the key of the operator, an account or a user; only a user's seed ever leaves."""

    def generate(saga: AnySaga) -> GenerateKey:
        return GenerateKey(
            key_id=saga.id_of(who),
            algorithm=Algorithm.ED25519,
            purpose=PURPOSES[who],
            exportable=who == "user",
            owner=str(getattr(saga.request, who.replace("-", "_"), who)),
        )

    undo: tuple[Undo[Any], ...] = key_undone(lambda saga: saga.id_of(who), "the provisioning was undone")
    return Step(generate, KeyGenerated, undo=undo, called=f"generate-{who}-key")


def jwt_of(who: str, create: Callable[[AnySaga], CreateNatsJwt]) -> tuple[Step[Any], ...]:
    """Created as *create* says, signed by its issuer's key, attached."""

    def sign(saga: AnySaga) -> SignWithKey:
        created = created_of(saga, who)
        return SignWithKey(
            key_id=created.signing_key_id,
            message=created.tbs,
            signature_algorithm=created.signature_algorithm,
            purpose=Purpose.NATS_ACCOUNT if who == "user" else Purpose.NATS_OPERATOR,
        )

    def attach(saga: AnySaga) -> SignNatsJwt:
        signed = next(each.event for each in saga.answers if each.step == f"sign-{who}")
        assert isinstance(signed, KeySigned)
        return SignNatsJwt(nats_jwt_id=created_of(saga, who).nats_jwt_id, signature=signed.signature)

    def revoke(saga: AnySaga) -> RevokeNatsJwt:
        return RevokeNatsJwt(nats_jwt_id=saga.id_of(who), reason="the provisioning was undone", void_if_absent=True)

    return (
        Step(create, NatsJwtCreated, undo=(Undo(revoke, NatsJwtRevoked),), called=f"create-{who}"),
        Step(sign, KeySigned, called=f"sign-{who}"),
        Step(attach, NatsJwtSigned, called=f"attach-{who}"),
    )


def export_user_seed(saga: AnySaga) -> ExportKey:
    return ExportKey(
        key_id=saga.id_of("user"),
        recipient_public_key=saga.request.recipient_public_key,
        format=PrivateKeyFormat.NKEY_SEED,
    )


SEED: Step[Any] = Step(export_user_seed, KeyExported)


def nkey_of(saga: AnySaga, who: str) -> str:
    made = next(each.event for each in saga.answers if each.step == f"generate-{who}-key")
    assert isinstance(made, KeyGenerated)
    assert made.nkey is not None
    return made.nkey


def created_of(saga: AnySaga, who: str) -> NatsJwtCreated:
    created = next(each.event for each in saga.answers if each.step == f"create-{who}")
    assert isinstance(created, NatsJwtCreated)
    return created


def jwt_text(saga: AnySaga, who: str) -> str:
    signed = next(each.event for each in saga.answers if each.step == f"attach-{who}")
    assert isinstance(signed, NatsJwtSigned)
    return signed.jwt
