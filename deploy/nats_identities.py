"""Operator, accounts and users of nats-server in operator mode, created by the suite's own sagas.

Saga ids are derived from a constant, the role and a running number: repeating a run repeats no saga. The suite seals
seeds to a key pair that is generated for one run and never stored.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nats.js import JetStreamContext

from deploy.saga_client import (
    POLL_INTERVAL_S,
    TIMEOUT_S,
    SagaResult,
    last_event,
    require_not_rejected,
    result_of,
    run_saga,
    send_command,
)
from shared.contracts.key.value_types import sealing_info
from shared.messages.catalog import catalog
from shared.messages.ids import derive_id
from shared.messages.permissions import PROVISIONER, permissions_of

OPERATOR, ACCOUNT = "cim-keys", "keys"
_ROOT = UUID("019a0000-0000-7000-8000-000000000000")
_SEALING = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PROVISIONING, _USER_ISSUANCE = "nats-provisioning", "nats-user-issuance"
_FIRST_ROLE = PROVISIONER
"""The saga that creates the operator also issues the first user of this role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user JWT of one role, with its seed sealed to the recipient of the saga's request."""

    role: str
    key_id: str
    nkey: str
    jwt: str
    sealed_seed: bytes

    @property
    def has_catalog_permissions(self) -> bool:
        return _permissions_in(self.jwt) == _permission_sets(self.role)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator with its two accounts.

    *created*: the body of its saga's `completed`; *is_new*: this run created it. Ids of its users' sagas
    are derived from *saga_id*.
    """

    saga_id: UUID
    created: dict[str, Any]
    is_new: bool

    @property
    def account_key_id(self) -> str:
        return str(self.created["account_key_id"])


class Identities:
    """The users and accounts of one operator; *recipient* opens the seeds of this run."""

    def __init__(self, js: JetStreamContext, operator: Operator, recipient: X25519PrivateKey) -> None:
        self._js, self.operator, self._recipient = js, operator, recipient

    @classmethod
    async def load_or_create(cls, js: JetStreamContext) -> Identities:
        """Returns the suite's operator, after creating a missing one. Raises CommandFailed."""
        recipient = X25519PrivateKey.generate()
        saga_id = derive_id(_ROOT, "operator/1")
        attempt = 1
        while (result := await result_of(js, _PROVISIONING, str(saga_id))) is not None and not result.is_completed:
            attempt += 1
            saga_id = derive_id(_ROOT, f"operator/{attempt}")
        created = result.body if result is not None else await _provision(js, str(saga_id), recipient)
        return cls(js, Operator(saga_id, created, is_new=result is None), recipient)

    @property
    def new_roles(self) -> tuple[str, ...]:
        """Roles whose user this run created together with the operator."""
        return (_FIRST_ROLE,) if self.operator.is_new else ()

    async def valid_users(self, role: str) -> list[User]:
        """Returns the role's unrevoked users, the newest last: more than one after an interrupted renewal."""
        issued = [_user(role, result.body) async for _, result in self._sagas_of(role) if result.is_completed]
        subject = "keys.events.nats-jwt.revoked"
        return [user for user in issued if await last_event(self._js, f"{subject}.{user.key_id}") is None]

    async def issue(self, role: str) -> User:
        """Issues another user. Raises CommandFailed."""
        number = 1 + len([number async for number, _ in self._sagas_of(role)])
        issued = await run_saga(
            self._js,
            _USER_ISSUANCE,
            self._saga_id(role, number),
            account_key_id=self.operator.account_key_id,
            user=role,
            permissions=_permissions(role),
            recipient_public_key=_public(self._recipient),
        )
        return _user(role, issued)

    async def revoke(self, user: User) -> None:
        """Adds the user to the revocations of its account's JWT. Raises CommandFailed."""
        await run_saga(
            self._js,
            "nats-user-revocation",
            str(derive_id(UUID(user.key_id), "revocation")),
            account_key_id=self.operator.account_key_id,
            user_key_id=user.key_id,
            user_nkey=user.nkey,
            reason="its role has another",
        )

    async def seed_of(self, user: User) -> str:
        """Returns the user's seed. If it is sealed to the key of an earlier run, it is exported again.

        Raises CommandFailed.
        """
        try:
            return self._open(user.key_id, user.sealed_seed)
        except InvalidTag:
            return self._open(user.key_id, await self._export_seed(user.key_id))

    async def account_jwts(self) -> dict[str, str]:
        """Returns the newest JWT of each account by its public key."""
        accounts = {}
        for account in ("system_account", "account"):
            key_id = self.operator.created[f"{account}_key_id"]
            signed = await last_event(self._js, f"keys.events.nats-jwt.signed.{key_id}")
            accounts[str(self.operator.created[f"{account}_nkey"])] = str((signed or {})["jwt"])
        return accounts

    async def _sagas_of(self, role: str) -> AsyncIterator[tuple[int, SagaResult]]:
        """Yields numbers and results of the role's sagas, from the first on."""
        number = 1
        if role == _FIRST_ROLE:
            yield number, SagaResult("completed", self.operator.created)
            number += 1
        while (result := await result_of(self._js, _USER_ISSUANCE, self._saga_id(role, number))) is not None:
            yield number, result
            number += 1

    def _saga_id(self, role: str, number: int) -> str:
        return str(derive_id(self.operator.saga_id, f"{role}/{number}"))

    async def _export_seed(self, key_id: str) -> bytes:
        request = {"key_id": key_id, "recipient_public_key": _public(self._recipient), "format": "nkey-seed"}
        command_id = await send_command(self._js, "key.export", request)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event = await last_event(self._js, f"keys.events.key.exported.{key_id}")
                if event is not None and event["recipient_public_key"] == request["recipient_public_key"]:
                    return base64.b64decode(event["sealed_key"])
                await require_not_rejected(self._js, command_id)
                await asyncio.sleep(POLL_INTERVAL_S)

    def _open(self, key_id: str, sealed: bytes) -> str:
        return _SEALING.decrypt(sealed, self._recipient, sealing_info(key_id)).decode()


async def _provision(js: JetStreamContext, saga_id: str, recipient: X25519PrivateKey) -> dict[str, Any]:
    return await run_saga(
        js,
        _PROVISIONING,
        saga_id,
        operator=OPERATOR,
        account=ACCOUNT,
        user=_FIRST_ROLE,
        limits={"jetstream": True},
        permissions=_permissions(_FIRST_ROLE),
        recipient_public_key=_public(recipient),
    )


def _user(role: str, issued: dict[str, Any]) -> User:
    return User(
        role=role,
        key_id=str(issued["user_key_id"]),
        nkey=str(issued["user_nkey"]),
        jwt=str(issued["user_jwt"]),
        sealed_seed=base64.b64decode(issued["sealed_user_seed"]),
    )


def _public(recipient: X25519PrivateKey) -> str:
    return base64.b64encode(recipient.public_key().public_bytes_raw()).decode()


def _permissions(role: str) -> dict[str, list[str]]:
    allowed = permissions_of(role, catalog())
    return {
        "publish_allow": list(allowed.publish),
        "publish_deny": list(allowed.withheld),
        "subscribe_allow": list(allowed.subscribe),
    }


def _permission_sets(role: str) -> list[set[str]]:
    permissions = _permissions(role)
    return [set(permissions[kind]) for kind in ("publish_allow", "publish_deny", "subscribe_allow")]


def _permissions_in(jwt: str) -> list[set[str]]:
    claims = jwt.split(".")[1]
    user = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["nats"]
    return [
        set(user[direction].get(kind, ())) for direction, kind in (("pub", "allow"), ("pub", "deny"), ("sub", "allow"))
    ]
