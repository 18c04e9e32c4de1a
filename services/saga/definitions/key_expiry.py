"""Expires a key at the time that was set for it, or completes its rotation at the end of the overlap."""

from __future__ import annotations

from datetime import datetime

from services.saga.core.definition import Definition, Step, Trigger
from services.saga.core.state import Saga
from services.saga.definitions.parts import UNATTENDED, UNATTENDED_TIMEOUT
from shared.contracts.key.commands import CompleteRotation, ExpireKey
from shared.contracts.key.events import KeyExpired, KeyGenerated, KeyImported, KeyRotated, KeyRotationCompleted
from shared.contracts.saga.maintenance import KeyExpiryCompleted, KeyExpiryStage, StartKeyExpiry

Expiry = Saga[StartKeyExpiry]
NewKey = KeyGenerated | KeyImported


def expire_key(saga: Expiry) -> ExpireKey:
    return ExpireKey(key_id=saga.request.key_id)


def complete_rotation(saga: Expiry) -> CompleteRotation:
    return CompleteRotation(key_id=saga.request.key_id)


def is_expired(saga: Expiry) -> bool:
    return saga.request.stage is KeyExpiryStage.EXPIRED


def is_overlap_passed(saga: Expiry) -> bool:
    return saga.request.stage is KeyExpiryStage.OVERLAP_PASSED


def completed(saga: Expiry) -> KeyExpiryCompleted:
    return KeyExpiryCompleted(**saga.heading, key_id=saga.request.key_id, stage=saga.request.stage)


def its_time(event: NewKey, saga_id: str) -> StartKeyExpiry | None:
    return StartKeyExpiry(saga_id=saga_id, key_id=event.key_id) if event.expires_at else None


def its_time_at(event: NewKey) -> datetime | None:
    return event.expires_at


def its_overlap(event: KeyRotated, saga_id: str) -> StartKeyExpiry:
    return StartKeyExpiry(saga_id=saga_id, key_id=event.key_id, stage=KeyExpiryStage.OVERLAP_PASSED)


def its_overlap_until(event: KeyRotated) -> datetime:
    return event.overlap_until


KEY_EXPIRY = Definition(
    saga_type="key-expiry",
    request=StartKeyExpiry,
    completed=completed,
    timeout=2 * UNATTENDED_TIMEOUT,
    triggers=(
        Trigger(KeyGenerated, its_time, at=its_time_at),
        Trigger(KeyImported, its_time, at=its_time_at),
        Trigger(KeyRotated, its_overlap, at=its_overlap_until),
    ),
    steps=(
        Step(expire_key, KeyExpired, already_done_ok=True, **UNATTENDED, when=is_expired),
        Step(
            complete_rotation,
            KeyRotationCompleted,
            already_done_ok=True,
            **UNATTENDED,
            when=is_overlap_passed,
        ),
    ),
)
