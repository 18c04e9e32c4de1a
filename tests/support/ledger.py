"""A minimal decider over events of the contract: a key is generated once and revoked any number of times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

from nats.js import JetStreamContext
from pydantic import TypeAdapter

from shared.contracts.key.commands import GenerateKey, RevokeKey
from shared.contracts.key.events import KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm, Provenance, Purpose
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Rejection
from shared.process.runtime import CommandService, store_of
from shared.store.event_store import EventStore
from shared.store.replies import Replies


@dataclass(frozen=True, slots=True)
class Ledger:
    generated: KeyGenerated | None = None
    reasons: tuple[str, ...] = ()


def generated(key_id: str, algorithm: Algorithm = Algorithm.EC_P256) -> KeyGenerated:
    return KeyGenerated(
        key_id=key_id,
        algorithm=algorithm,
        public_key_pem="-----BEGIN PUBLIC KEY-----",
        fingerprint_sha256="0" * 64,
        purpose=Purpose.DIGITAL_SIGNATURE,
        provenance=Provenance.SOFTWARE,
        exportable=False,
    )


def decide(state: Ledger, command: GenerateKey | RevokeKey, context: Context) -> Any:
    match command:
        case GenerateKey() if state.generated is None:
            return generated(context.aggregate_id, command.algorithm)
        case GenerateKey():
            return Rejection(RejectionCode.CONFLICT, "it was generated already")
        case RevokeKey() if state.generated is None:
            return Rejection(RejectionCode.NOT_FOUND, "there is no such key")
        case RevokeKey(reason="nothing new"):
            return AlreadyDone()
        case RevokeKey():
            return KeyRevoked(key_id=command.key_id, reason=command.reason)


def evolve(state: Ledger, event: KeyGenerated | KeyRevoked) -> Ledger:
    match event:
        case KeyGenerated():
            return replace(state, generated=event)
        case KeyRevoked():
            return replace(state, reasons=(*state.reasons, event.reason))


LEDGER: Decider[Ledger, Any, Any, Any, Any] = Decider(
    initial=Ledger(),
    decide=decide,
    evolve=evolve,
    commands=(GenerateKey, RevokeKey),
    events=(KeyGenerated, KeyRevoked),
    states=TypeAdapter(Ledger),
)


def ledger_store(js: JetStreamContext, *, state_version: int = 1) -> EventStore[Ledger, Any]:
    return store_of(js, "key", replace(LEDGER, state_version=state_version))


def ledger_service(js: JetStreamContext) -> CommandService[Ledger, Any, Any, Any, Any]:
    async def nothing_to_perform(_: object) -> NoReturn:
        raise AssertionError

    return CommandService("key", LEDGER, nothing_to_perform, ledger_store(js), Replies(js, "key"))
