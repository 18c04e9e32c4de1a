"""A key that is made for somebody, escrowed once a person has approved, and revoked after a month."""

from __future__ import annotations

from datetime import timedelta

from services.saga.definition import Await, Definition, Sleep, Step
from services.saga.definitions.parts import key_undone
from services.saga.state import Saga
from shared.contracts.base import Name
from shared.contracts.key import EscrowKey, GenerateKey, RevokeKey
from shared.contracts.key_events import KeyEscrowed, KeyGenerated, KeyRevoked
from shared.contracts.keying import Algorithm
from shared.contracts.saga import StartSaga


class StartEscrowedKey(StartSaga):
    owner: Name


def make_key(saga: Saga[StartEscrowedKey]) -> GenerateKey:
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256, owner=saga.request.owner)


ESCROWED_KEY = Definition(
    saga_type="escrowed-key",
    request=StartEscrowedKey,
    steps=(
        Step(make_key, KeyGenerated, undo=key_undone(lambda saga: saga.id_of("key"), "not wanted any more")),
        Await("approval", "approve", lambda _: 1, lambda saga: f"the escrow of {saga.request.owner}'s key"),
        Step(lambda saga: EscrowKey(key_id=saga.id_of("key")), KeyEscrowed, called="escrow", pivot=True),
        Sleep("month", lambda _: timedelta(days=30)),
        Step(lambda saga: RevokeKey(key_id=saga.id_of("key"), reason="its time"), KeyRevoked, called="revoke"),
    ),
)
