"""The words of the sagas that make, and take back, identities for NATS."""

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
from shared.contracts.saga.protocol import CompletionAnnouncement, StartSaga


class StartNatsProvisioning(StartSaga):
    """An operator with its system account, an account, and a user who may be let in at once."""

    operator: Name
    account: Name
    user: Name
    limits: NatsAccountLimits = NatsAccountLimits()
    permissions: NatsPermissions = NatsPermissions()
    validity_days: ValidityDays | None = Field(default=None, description="of the user; default: without end")
    recipient_public_key: Base64 = Field(
        min_length=32, max_length=32, description="X25519, raw: whom the user's seed is sealed to"
    )


class NatsProvisioningCompleted(CompletionAnnouncement):
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
        description="HPKE, for key_id user_key_id; what is in it is the seed as NATS writes it"
    )


class StartNatsUserIssuance(StartSaga):
    """Another user in an account that there is."""

    account_key_id: Id
    user: Name
    permissions: NatsPermissions = NatsPermissions()
    validity_days: ValidityDays | None = None
    recipient_public_key: Base64 = Field(min_length=32, max_length=32, description="X25519, raw")


class NatsUserIssuanceCompleted(CompletionAnnouncement):
    user_jwt: Jwt
    user_nkey: UserNkey
    user_key_id: Id
    sealed_user_seed: Base64


class StartNatsUserRevocation(StartSaga):
    """A user is not to be let in any more: its account's next JWT says so. There is no way back."""

    account_key_id: Id
    user_key_id: Id
    user_nkey: UserNkey
    reason: Text = "revoked"


class NatsUserRevocationCompleted(CompletionAnnouncement):
    account_jwt: Jwt = Field(description="to be given to the servers (a resolver, or $SYS.REQ.CLAIMS.UPDATE)")
    version: int
