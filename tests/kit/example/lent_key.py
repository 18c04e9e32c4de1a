"""Lends a key: generates it, exports it sealed once a person has approved, and revokes it after a month."""

from __future__ import annotations

from datetime import timedelta

from services.saga.core.definition import Await, Definition, Sleep, Step
from services.saga.core.state import Saga
from services.saga.definitions.parts import key_undone
from shared.contracts.base import Base64
from shared.contracts.key.commands import ExportKey, GenerateKey, RevokeKey
from shared.contracts.key.events import KeyExported, KeyGenerated, KeyRevoked
from shared.contracts.key.value_types import Algorithm
from shared.contracts.saga.protocol import StartSaga


class StartLentKey(StartSaga):
    recipient_public_key: Base64


def make_key(saga: Saga[StartLentKey]) -> GenerateKey:
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256, exportable=True)


def hand_over(saga: Saga[StartLentKey]) -> ExportKey:
    return ExportKey(key_id=saga.id_of("key"), recipient_public_key=saga.request.recipient_public_key)


LENT_KEY = Definition(
    saga_type="lent-key",
    request=StartLentKey,
    steps=(
        Step(make_key, KeyGenerated, undo=key_undone(lambda saga: saga.id_of("key"), "the loan was undone")),
        Await("approval", "approve", needed=lambda _: 1, about=lambda _: "lending a key for a month"),
        Step(hand_over, KeyExported, pivot=True),
        Sleep("month", until=lambda _: timedelta(days=30)),
        Step(lambda saga: RevokeKey(key_id=saga.id_of("key"), reason="the loan has ended"), KeyRevoked, name="revoke"),
    ),
)
