"""Start commands and completion events of the sagas that issue and revoke NATS identities."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.base import Base64, Id, Name, Text, ValidityDays
from shared.contracts.certificate.nats_jwt import (
    AccountNkey,
    Jwt,
    NatsAccountLimits,
    NatsPermissions,
    OperatorNkey,
    UserNkey,
)
from shared.contracts.saga.protocol import Completed, StartSaga


class StartNatsProvisioning(StartSaga):
    """Create an operator with its system account, an account, and a user."""

    operator: Name
    account: Name
    user: Name
    limits: NatsAccountLimits = NatsAccountLimits()
    permissions: NatsPermissions = NatsPermissions()
    validity_days: ValidityDays | None = Field(default=None, description="of the user; default: no expiry")
    recipient_public_key: Base64 = Field(
        min_length=32, max_length=32, description="X25519, raw: recipient of the sealed user seed"
    )


class NatsProvisioningCompleted(Completed):
    operator_jwt: Jwt
    operator_nkey: OperatorNkey
    system_account_jwt: Jwt
    system_account_nkey: AccountNkey
    account_jwt: Jwt
    account_nkey: AccountNkey
    user_jwt: Jwt
    user_nkey: UserNkey
    operator_key_id: Id
    system_account_key_id: Id
    account_key_id: Id
    user_key_id: Id
    sealed_user_seed: Base64 = Field(
        description="HPKE, for key_id user_key_id; contains the seed in the encoding of NATS"
    )


class StartNatsUserIssuance(StartSaga):
    """Create a user in an existing account."""

    account_key_id: Id
    user: Name
    permissions: NatsPermissions = NatsPermissions()
    validity_days: ValidityDays | None = None
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")


class NatsUserIssuanceCompleted(Completed):
    user_jwt: Jwt
    user_nkey: UserNkey
    user_key_id: Id
    sealed_user_seed: Base64


class StartNatsUserRevocation(StartSaga):
    """Revoke a user through its account's next JWT. This cannot be undone."""

    account_key_id: Id
    user_key_id: Id
    user_nkey: UserNkey
    reason: Text = "revoked"


class NatsUserRevocationCompleted(Completed):
    account_jwt: Jwt = Field(description="for the servers (a resolver, or $SYS.REQ.CLAIMS.UPDATE)")
    version: int
