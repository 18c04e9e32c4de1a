"""The time that was set for a key has come: from then on it signs nothing."""

from __future__ import annotations

from datetime import datetime

from services.saga.definition import Definition, Step, Trigger
from services.saga.definitions.parts import PATIENT, PATIENTLY
from services.saga.state import Saga
from shared.contracts.key import ExpireKey
from shared.contracts.key_events import KeyExpired, KeyGenerated, KeyImported
from shared.contracts.sagas import KeyExpiryCompleted, StartKeyExpiry

Expiry = Saga[StartKeyExpiry]
Born = KeyGenerated | KeyImported


def expire_key(saga: Expiry) -> ExpireKey:
    return ExpireKey(key_id=saga.request.key_id)


def completed(saga: Expiry) -> KeyExpiryCompleted:
    return KeyExpiryCompleted(**saga.heading, key_id=saga.request.key_id)


def its_time(event: Born, saga_id: str) -> StartKeyExpiry | None:
    return StartKeyExpiry(saga_id=saga_id, key_id=event.key_id) if event.expires_at else None


def its_time_at(event: Born) -> datetime | None:
    return event.expires_at


KEY_EXPIRY = Definition(
    saga_type="key-expiry",
    request=StartKeyExpiry,
    completed=completed,
    within=2 * PATIENTLY,
    triggers=(Trigger(KeyGenerated, its_time, its_time_at), Trigger(KeyImported, its_time, its_time_at)),
    steps=(Step(expire_key, KeyExpired, may_stand=True, within=PATIENTLY, retry=PATIENT),),
)
