"""Provisions NATS from nothing: operator, system account, account and user, first their keys, then their JWTs.

The last event holds the operator's JWT for the server, the accounts' JWTs for its resolver, and the user's sealed seed.
"""

from __future__ import annotations

from services.saga.core.definition import Definition, Parallel
from services.saga.core.state import Saga
from services.saga.definitions.nats_parts import EXPORT_SEED, jwt_of, jwt_text, key_of, nkey_of
from shared.contracts.certificate.nats_jwt import CreateNatsJwt, NatsEntity
from shared.contracts.key.events import KeyExported
from shared.contracts.saga.nats import NatsProvisioningCompleted, StartNatsProvisioning

Provisioning = Saga[StartNatsProvisioning]


def create_operator(saga: Provisioning) -> CreateNatsJwt:
    own = nkey_of(saga, "operator")
    return CreateNatsJwt(
        nats_jwt_id=saga.id_of("operator"),
        entity=NatsEntity.OPERATOR,
        name=saga.request.operator,
        subject=own,
        issuer=own,
        signing_key_id=saga.id_of("operator"),
        system_account=nkey_of(saga, "system-account"),
    )


def create_system_account(saga: Provisioning) -> CreateNatsJwt:
    return _account(saga, "system-account", "SYS")


def create_account(saga: Provisioning) -> CreateNatsJwt:
    return _account(saga, "account", saga.request.account).model_copy(update={"limits": saga.request.limits})


def create_user(saga: Provisioning) -> CreateNatsJwt:
    return CreateNatsJwt(
        nats_jwt_id=saga.id_of("user"),
        entity=NatsEntity.USER,
        name=saga.request.user,
        subject=nkey_of(saga, "user"),
        issuer=nkey_of(saga, "account"),
        signing_key_id=saga.id_of("account"),
        permissions=saga.request.permissions,
        validity_days=saga.request.validity_days,
    )


def _account(saga: Provisioning, key_name: str, name: str) -> CreateNatsJwt:
    return CreateNatsJwt(
        nats_jwt_id=saga.id_of(key_name),
        entity=NatsEntity.ACCOUNT,
        name=name,
        subject=nkey_of(saga, key_name),
        issuer=nkey_of(saga, "operator"),
        signing_key_id=saga.id_of("operator"),
    )


def completed(saga: Provisioning) -> NatsProvisioningCompleted:
    return NatsProvisioningCompleted(
        **saga.heading,
        operator_jwt=jwt_text(saga, "operator"),
        operator_nkey=nkey_of(saga, "operator"),
        system_account_jwt=jwt_text(saga, "system-account"),
        system_account_nkey=nkey_of(saga, "system-account"),
        account_jwt=jwt_text(saga, "account"),
        account_nkey=nkey_of(saga, "account"),
        user_jwt=jwt_text(saga, "user"),
        user_nkey=nkey_of(saga, "user"),
        operator_key_id=saga.id_of("operator"),
        system_account_key_id=saga.id_of("system-account"),
        account_key_id=saga.id_of("account"),
        user_key_id=saga.id_of("user"),
        sealed_user_seed=saga.outcome(KeyExported).sealed_key,
    )


NATS_PROVISIONING = Definition(
    saga_type="nats-provisioning",
    request=StartNatsProvisioning,
    completed=completed,
    steps=(
        Parallel(key_of("operator"), key_of("system-account"), key_of("account"), key_of("user")),
        Parallel(
            jwt_of("operator", create_operator),
            jwt_of("system-account", create_system_account),
            jwt_of("account", create_account),
            jwt_of("user", create_user),
        ),
        EXPORT_SEED,
    ),
)
