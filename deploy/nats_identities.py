"""Who is who on a nats-server in operator mode, as the suite's own sagas have made it and its log tells it.

Every saga's id is derived, from a constant down to the role and how many users it has had: whoever asks again asks for
the same. Seeds come sealed to a key that is drawn here and kept nowhere.
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

from deploy.saga_client import PATIENCE, Ended, command, completed, end_of, last, require_not_refused
from shared.contracts.key.value_types import sealing_info
from shared.messages.catalog import catalog
from shared.messages.ids import derive_id
from shared.messages.permissions import PROVISIONER, permissions_of

OPERATOR, ACCOUNT = "cim-keys", "keys"
_ROOT = UUID("019a0000-0000-7000-8000-000000000000")
_SEALING = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_WITH_THE_OPERATOR, _MORE = "nats-provisioning", "nats-user-issuance"
_FIRST = PROVISIONER
"""The saga that makes the operator makes a user, too: this role's first."""


@dataclass(frozen=True, slots=True)
class User:
    role: str
    key_id: str
    nkey: str
    jwt: str
    sealed_seed: bytes

    @property
    def allows_what_the_catalog_says(self) -> bool:
        return _allowed_by(self.jwt) == _allowed_by_catalog(self.role)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator with its two accounts; *saga_id* is what the ids of its users' sagas are derived from."""

    saga_id: UUID
    made: dict[str, Any]
    stood: bool

    @property
    def account_key_id(self) -> str:
        return str(self.made["account_key_id"])


class Identities:
    """Of one operator; made with a fresh key that seeds are sealed to."""

    def __init__(self, js: JetStreamContext, operator: Operator, recipient: X25519PrivateKey) -> None:
        self._js, self.operator, self._recipient = js, operator, recipient

    @classmethod
    async def of_the_suite(cls, js: JetStreamContext) -> Identities:
        """The operator that stands, or else is made now. Raises NotCompleted."""
        recipient = X25519PrivateKey.generate()
        saga_id = derive_id(_ROOT, "operator/1")
        attempt = 1
        while (end := await end_of(js, _WITH_THE_OPERATOR, str(saga_id))) is not None and not end.well:
            attempt += 1
            saga_id = derive_id(_ROOT, f"operator/{attempt}")
        made = end.body if end is not None else await _provisioned(js, str(saga_id), recipient)
        return cls(js, Operator(saga_id, made, stood=end is not None), recipient)

    @property
    def just_made(self) -> tuple[str, ...]:
        """The roles whose user came with the operator, if that was made now."""
        return () if self.operator.stood else (_FIRST,)

    async def standing(self, role: str) -> list[User]:
        """The role's users that are not revoked, the last made last: one, unless a renewal broke off."""
        made = [_user(role, end.body) async for _, end in self._ended(role) if end.well]
        return [user for user in made if await last(self._js, f"keys.events.nats-jwt.revoked.{user.key_id}") is None]

    async def issue(self, role: str) -> User:
        """One user more. Raises NotCompleted."""
        number = 1 + len([number async for number, _ in self._ended(role)])
        told = await completed(
            self._js,
            _MORE,
            self._saga_of(role, number),
            account_key_id=self.operator.account_key_id,
            user=role,
            permissions=_permissions(role),
            recipient_public_key=_public(self._recipient),
        )
        return _user(role, told)

    async def revoke(self, user: User) -> None:
        """Have the account's next JWT keep it out. Raises NotCompleted."""
        await completed(
            self._js,
            "nats-user-revocation",
            str(derive_id(UUID(user.key_id), "revocation")),
            account_key_id=self.operator.account_key_id,
            user_key_id=user.key_id,
            user_nkey=user.nkey,
            reason="its role has another",
        )

    async def seed_of(self, user: User) -> str:
        """Raises NotCompleted. A user of an earlier run is sealed to that one's key: its key is exported once more."""
        try:
            return self._opened(user.key_id, user.sealed_seed)
        except InvalidTag:
            return self._opened(user.key_id, await self._exported_to_us(user.key_id))

    async def accounts(self) -> dict[str, str]:
        """The newest JWT of each account, by its public key."""
        accounts = {}
        for which in ("system_account", "account"):
            signed = await last(self._js, f"keys.events.nats-jwt.signed.{self.operator.made[f'{which}_key_id']}")
            accounts[str(self.operator.made[f"{which}_nkey"])] = str((signed or {})["jwt"])
        return accounts

    async def _ended(self, role: str) -> AsyncIterator[tuple[int, Ended]]:
        """The role's sagas, from the first on."""
        number = 1
        if role == _FIRST:
            yield number, Ended("completed", self.operator.made)
            number += 1
        while (end := await end_of(self._js, _MORE, self._saga_of(role, number))) is not None:
            yield number, end
            number += 1

    def _saga_of(self, role: str, number: int) -> str:
        return str(derive_id(self.operator.saga_id, f"{role}/{number}"))

    async def _exported_to_us(self, key_id: str) -> bytes:
        wish = {"key_id": key_id, "recipient_public_key": _public(self._recipient), "format": "nkey-seed"}
        command_id = await command(self._js, "key.export", wish)
        async with asyncio.timeout(PATIENCE):
            while True:
                told = await last(self._js, f"keys.events.key.exported.{key_id}")
                if told is not None and told["recipient_public_key"] == wish["recipient_public_key"]:
                    return base64.b64decode(told["sealed_key"])
                await require_not_refused(self._js, command_id)
                await asyncio.sleep(0.05)

    def _opened(self, key_id: str, sealed: bytes) -> str:
        return _SEALING.decrypt(sealed, self._recipient, sealing_info(key_id)).decode()


async def _provisioned(js: JetStreamContext, saga_id: str, recipient: X25519PrivateKey) -> dict[str, Any]:
    return await completed(
        js,
        _WITH_THE_OPERATOR,
        saga_id,
        operator=OPERATOR,
        account=ACCOUNT,
        user=_FIRST,
        limits={"jetstream": True},
        permissions=_permissions(_FIRST),
        recipient_public_key=_public(recipient),
    )


def _user(role: str, told: dict[str, Any]) -> User:
    sealed = base64.b64decode(told["sealed_user_seed"])
    return User(role, str(told["user_key_id"]), str(told["user_nkey"]), str(told["user_jwt"]), sealed)


def _public(recipient: X25519PrivateKey) -> str:
    return base64.b64encode(recipient.public_key().public_bytes_raw()).decode()


def _permissions(role: str) -> dict[str, list[str]]:
    allowed = permissions_of(role, catalog())
    return {
        "publish_allow": list(allowed.publish),
        "publish_deny": list(allowed.withheld),
        "subscribe_allow": list(allowed.subscribe),
    }


def _allowed_by_catalog(role: str) -> list[set[str]]:
    said = _permissions(role)
    return [set(said[kind]) for kind in ("publish_allow", "publish_deny", "subscribe_allow")]


def _allowed_by(jwt: str) -> list[set[str]]:
    claims = jwt.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["nats"]
    return [set(said[way].get(kind, ())) for way, kind in (("pub", "allow"), ("pub", "deny"), ("sub", "allow"))]
