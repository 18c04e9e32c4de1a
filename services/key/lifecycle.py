"""When a key gives way to another, changes hands, and comes to its end. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from services.key.effects import Answer, FetchSuccessor, Shred
from services.key.rejections import conflict, day, end_of, invalid, not_allowed, not_found
from services.key.states import Active, Destroyed, End, Escrowed, Key, Over, Prepared, Rotated, Unborn, Voided
from shared.contracts.key.commands import (
    ArchiveKey,
    CancelRotation,
    CompleteRotation,
    DestroyKey,
    ExpireKey,
    RevokeKey,
    RotateKey,
    TransferKey,
)
from shared.contracts.key.events import (
    KeyArchived,
    KeyExpired,
    KeyRevoked,
    KeyRotated,
    KeyRotationCancelled,
    KeyRotationCompleted,
    KeyTransferred,
)
from shared.contracts.key.value_types import OwnerKind
from shared.decider import AlreadyDone, Context, Perform


def rotate(key: Key, wish: RotateKey) -> Answer:
    if wish.successor_id == wish.key_id:
        return invalid("a key cannot take its own place: name another as successor_id")
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active():
            return Perform(FetchSuccessor(wish))
        case Rotated(successor_id=wish.successor_id):
            return AlreadyDone()
        case Rotated():
            return conflict(
                f"key {wish.key_id} gives way to {key.successor_id} already: ask key.cancel-rotation first, to name "
                "another"
            )
        case Escrowed():
            return conflict(f"key {wish.key_id} is escrowed, kept for recovery only: there is nothing to rotate")
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)} and cannot be rotated: only a key in use can")
        case _:
            assert_never(key)


def rotate_to(key: Key, wish: RotateKey, successor: Key, context: Context) -> Answer:
    """*successor* is the standing of the key that is named, read from the leader."""
    if not isinstance(key, Active):
        return rotate(key, wish)
    match successor:
        case Active(traits=traits):
            if traits.purpose is not key.traits.purpose:
                return conflict(
                    f"key {wish.successor_id} is for {traits.purpose}, and key {wish.key_id} for {key.traits.purpose}: "
                    "the successor must have the same purpose"
                )
            if traits.expires_at is not None and traits.expires_at <= context.at:
                return conflict(f"successor {wish.successor_id} expired on {day(traits.expires_at)}: name another")
            return KeyRotated(
                key_id=wish.key_id,
                successor_id=wish.successor_id,
                overlap_until=context.at + timedelta(days=wish.overlap_days),
                reason=wish.reason,
            )
        case Unborn() | Prepared():
            return not_found(wish.successor_id, " to be the successor: generate it first")
        case Rotated():
            return conflict(f"successor {wish.successor_id} gives way to another key itself: name that, or another")
        case Escrowed():
            return conflict(f"successor {wish.successor_id} is escrowed, kept for recovery only: name another")
        case Over() | Voided() | Destroyed():
            return conflict(f"successor {wish.successor_id} {end_of(successor)}: name another")
        case _:
            assert_never(successor)


def complete_rotation(key: Key, wish: CompleteRotation, context: Context) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Rotated():
            if context.at < key.overlap_until:
                return conflict(
                    f"key {wish.key_id} and its successor are both good until {day(key.overlap_until)}: ask again then"
                )
            return KeyRotationCompleted(key_id=wish.key_id, successor_id=key.successor_id)
        case Over(end=End.ROTATION_COMPLETED):
            return AlreadyDone()
        case Active() | Escrowed():
            return conflict(f"key {wish.key_id} is not being rotated: ask key.rotate first")
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)}: there is no rotation to complete")
        case _:
            assert_never(key)


def cancel_rotation(key: Key, wish: CancelRotation) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Rotated():
            return KeyRotationCancelled(key_id=wish.key_id, reason=wish.reason)
        case Active():
            return AlreadyDone()
        case Escrowed():
            return conflict(f"key {wish.key_id} is escrowed: there is no rotation to cancel")
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)}: it is too late to cancel its rotation")
        case _:
            assert_never(key)


def expire(key: Key, wish: ExpireKey, context: Context) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if traits.expires_at is None:
                return conflict(f"no time was set for key {wish.key_id} to expire: ask key.revoke to end it")
            if context.at < traits.expires_at:
                return conflict(f"key {wish.key_id} expires on {day(traits.expires_at)}: ask again then")
            return KeyExpired(key_id=wish.key_id)
        case Over() | Voided() | Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)


def revoke(key: Key, wish: RevokeKey) -> Answer:
    match key:
        case Unborn():
            if wish.void_if_absent:
                return KeyRevoked(key_id=wish.key_id, reason=wish.reason, existed=False)
            return not_found(wish.key_id, "; to make sure that there never will be one, ask with void_if_absent")
        case Prepared():
            return KeyRevoked(key_id=wish.key_id, reason=wish.reason, existed=False)
        case Active() | Rotated() | Escrowed() | Over(end=End.EXPIRED | End.ROTATION_COMPLETED):
            return KeyRevoked(key_id=wish.key_id, reason=wish.reason)
        case Over(end=End.ARCHIVED) if not wish.void_if_absent:
            return conflict(f"key {wish.key_id} is archived: only destroying it is left")
        case Over() | Voided() | Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)


def archive(key: Key, wish: ArchiveKey) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Over(end=End.ARCHIVED):
            return AlreadyDone()
        case Over():
            return KeyArchived(key_id=wish.key_id)
        case Active() | Rotated() | Escrowed():
            return conflict(f"key {wish.key_id} is not over: revoke it, or complete its rotation, first")
        case Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)}: there is nothing to put away")
        case _:
            assert_never(key)


def transfer(key: Key, wish: TransferKey) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if traits.owner_kind is None or traits.owner_kind is OwnerKind.PERSON:
                whose = "is a person's own" if traits.owner_kind else "may be a person's own: no owner_kind was told"
                return not_allowed(f"key {wish.key_id} {whose}, and such a key never changes hands: generate another")
            if wish.owner_kind is OwnerKind.PERSON:
                return not_allowed(f"key {wish.key_id} is no person's own and cannot become it: generate one for them")
            if (traits.owner, traits.owner_kind) == (wish.owner, wish.owner_kind):
                return AlreadyDone()
            return KeyTransferred(
                key_id=wish.key_id,
                from_owner=traits.owner,
                to_owner=wish.owner,
                to_owner_kind=wish.owner_kind,
            )
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)} and cannot be transferred: only a key in use can")
        case _:
            assert_never(key)


def destroy(key: Key, wish: DestroyKey) -> Answer:
    match key:
        case Unborn():
            return not_found(wish.key_id)
        case Prepared():
            return conflict(
                f"key {wish.key_id} is only prepared: revoke it first, so that nothing is imported under it"
            )
        case Active(exported=False) | Rotated(exported=False):
            return conflict(f"key {wish.key_id} is in use and lives only here: revoke it first")
        case Active() | Rotated() | Escrowed() | Over() | Voided():
            return Perform(Shred(wish.key_id))
        case Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)
