"""Decisions on the lifecycle of a key: rotation, transfer, expiry, revocation, archiving, destruction. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from services.key.effects import Decision, ErasePrivateKey, FetchSuccessor
from services.key.rejections import conflict, invalid, not_allowed, not_found, terminal_phrase, timestamp
from services.key.states import (
    Active,
    Deactivated,
    DeactivationReason,
    Destroyed,
    Escrowed,
    Key,
    Prepared,
    Rotated,
    Unborn,
    Voided,
)
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


def rotate(key: Key, command: RotateKey) -> Decision:
    if command.successor_id == command.key_id:
        return invalid("a key cannot be its own successor: name another key as successor_id")
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active():
            return Perform(FetchSuccessor(command))
        case Rotated(successor_id=command.successor_id):
            return AlreadyDone()
        case Rotated():
            return conflict(
                f"key {command.key_id} is being replaced by {key.successor_id}: use key.cancel-rotation first, to "
                "name another"
            )
        case Escrowed():
            return conflict(f"key {command.key_id} is escrowed, kept for recovery only: there is nothing to rotate")
        case Deactivated() | Voided() | Destroyed():
            return conflict(f"key {command.key_id} {terminal_phrase(key)} and cannot be rotated: only a key in use can")
        case _:
            assert_never(key)


def rotate_to(key: Key, command: RotateKey, successor: Key, context: Context) -> Decision:
    """Decides on a rotation with the current state of *successor*, read from the stream leader."""
    if not isinstance(key, Active):
        return rotate(key, command)
    match successor:
        case Active(traits=traits):
            if traits.purpose is not key.traits.purpose:
                return conflict(
                    f"key {command.successor_id} is for {traits.purpose}, and key {command.key_id} for "
                    f"{key.traits.purpose}: "
                    "the successor must have the same purpose"
                )
            if traits.expires_at is not None and traits.expires_at <= context.at:
                return conflict(
                    f"successor {command.successor_id} expired on {timestamp(traits.expires_at)}: name another"
                )
            return KeyRotated(
                key_id=command.key_id,
                successor_id=command.successor_id,
                overlap_until=context.at + timedelta(days=command.overlap_days),
                reason=command.reason,
            )
        case Unborn() | Prepared():
            return not_found(command.successor_id, " to be the successor: generate it first")
        case Rotated():
            return conflict(
                f"successor {command.successor_id} is being replaced itself: name its successor, or another key"
            )
        case Escrowed():
            return conflict(f"successor {command.successor_id} is escrowed, kept for recovery only: name another")
        case Deactivated() | Voided() | Destroyed():
            return conflict(f"successor {command.successor_id} {terminal_phrase(successor)}: name another")
        case _:
            assert_never(successor)


def complete_rotation(key: Key, command: CompleteRotation, context: Context) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Rotated():
            if context.at < key.overlap_until:
                return conflict(
                    f"key {command.key_id} and its successor are both valid until {timestamp(key.overlap_until)}: "
                    "complete the rotation then"
                )
            return KeyRotationCompleted(key_id=command.key_id, successor_id=key.successor_id)
        case Deactivated(end=DeactivationReason.ROTATION_COMPLETED):
            return AlreadyDone()
        case Active() | Escrowed():
            return conflict(f"key {command.key_id} is not being rotated: use key.rotate first")
        case Deactivated() | Voided() | Destroyed():
            return conflict(f"key {command.key_id} {terminal_phrase(key)}: there is no rotation to complete")
        case _:
            assert_never(key)


def cancel_rotation(key: Key, command: CancelRotation) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Rotated():
            return KeyRotationCancelled(key_id=command.key_id, reason=command.reason)
        case Active():
            return AlreadyDone()
        case Escrowed():
            return conflict(f"key {command.key_id} is escrowed: there is no rotation to cancel")
        case Deactivated() | Voided() | Destroyed():
            return conflict(f"key {command.key_id} {terminal_phrase(key)}: it is too late to cancel its rotation")
        case _:
            assert_never(key)


def expire(key: Key, command: ExpireKey, context: Context) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if traits.expires_at is None:
                return conflict(f"key {command.key_id} has no expires_at: use key.revoke to end it")
            if context.at < traits.expires_at:
                return conflict(f"key {command.key_id} expires on {timestamp(traits.expires_at)}: retry then")
            return KeyExpired(key_id=command.key_id)
        case Deactivated() | Voided() | Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)


def revoke(key: Key, command: RevokeKey) -> Decision:
    match key:
        case Unborn():
            if command.void_if_absent:
                return KeyRevoked(key_id=command.key_id, reason=command.reason, existed=False)
            return not_found(command.key_id, "; to make sure that there never will be one, set void_if_absent")
        case Prepared():
            return KeyRevoked(key_id=command.key_id, reason=command.reason, existed=False)
        case (
            Active()
            | Rotated()
            | Escrowed()
            | Deactivated(end=DeactivationReason.EXPIRED | DeactivationReason.ROTATION_COMPLETED)
        ):
            return KeyRevoked(key_id=command.key_id, reason=command.reason)
        case Deactivated(end=DeactivationReason.ARCHIVED) if not command.void_if_absent:
            return conflict(f"key {command.key_id} is archived: it can only be destroyed")
        case Deactivated() | Voided() | Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)


def archive(key: Key, command: ArchiveKey) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Deactivated(end=DeactivationReason.ARCHIVED):
            return AlreadyDone()
        case Deactivated():
            return KeyArchived(key_id=command.key_id)
        case Active() | Rotated() | Escrowed():
            return conflict(f"key {command.key_id} is still in use: revoke it, or complete its rotation, first")
        case Voided() | Destroyed():
            return conflict(f"key {command.key_id} {terminal_phrase(key)}: there is nothing to archive")
        case _:
            assert_never(key)


def transfer(key: Key, command: TransferKey) -> Decision:
    match key:
        case Unborn() | Prepared():
            return not_found(command.key_id)
        case Active(traits=traits) | Rotated(traits=traits) | Escrowed(traits=traits):
            if traits.owner_kind is None or traits.owner_kind is OwnerKind.PERSON:
                ownership = (
                    "belongs to a person" if traits.owner_kind else "may belong to a person (it has no owner_kind)"
                )
                return not_allowed(
                    f"key {command.key_id} {ownership}, and such a key cannot be transferred: generate another"
                )
            if command.owner_kind is OwnerKind.PERSON:
                return not_allowed(
                    f"key {command.key_id} does not belong to a person and cannot be transferred to one: "
                    "generate a key for them"
                )
            if (traits.owner, traits.owner_kind) == (command.owner, command.owner_kind):
                return AlreadyDone()
            return KeyTransferred(
                key_id=command.key_id,
                from_owner=traits.owner,
                to_owner=command.owner,
                to_owner_kind=command.owner_kind,
            )
        case Deactivated() | Voided() | Destroyed():
            return conflict(
                f"key {command.key_id} {terminal_phrase(key)} and cannot be transferred: only a key in use can"
            )
        case _:
            assert_never(key)


def destroy(key: Key, command: DestroyKey) -> Decision:
    match key:
        case Unborn():
            return not_found(command.key_id)
        case Prepared():
            return conflict(
                f"key {command.key_id} is only prepared: revoke it first, so that nothing is imported under it"
            )
        case Active(exported=False) | Rotated(exported=False):
            return conflict(f"key {command.key_id} is in use and has no other copy: revoke it first")
        case Active() | Rotated() | Escrowed() | Deactivated() | Voided():
            return Perform(ErasePrivateKey(command.key_id))
        case Destroyed():
            return AlreadyDone()
        case _:
            assert_never(key)
