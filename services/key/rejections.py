"""Rejections of the key service, worded alike for all commands."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from services.key.states import Deactivated, DeactivationReason, Destroyed, Terminal, Voided
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection

_ENDS = {
    DeactivationReason.EXPIRED: "has expired",
    DeactivationReason.ROTATION_COMPLETED: "was replaced by its successor",
    DeactivationReason.REVOKED: "is revoked",
    DeactivationReason.ARCHIVED: "is archived",
}


def invalid(problem: str) -> Rejection:
    return Rejection(RejectionCode.INVALID, problem)


def not_allowed(problem: str) -> Rejection:
    return Rejection(RejectionCode.NOT_ALLOWED, problem)


def conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)


def not_found(key_id: str, remedy: str = ": generate it first") -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no key {key_id}{remedy}")


def id_taken(key_id: str, algorithm: Algorithm, purpose: Purpose) -> Rejection:
    """Rejects a command for an id that has a key of another kind."""
    return conflict(
        f"key {key_id} exists with algorithm {algorithm} and purpose {purpose}: request the same, or choose "
        "another key_id"
    )


def id_used_up(key_id: str, key: Terminal) -> Rejection:
    return conflict(f"key {key_id} {terminal_phrase(key)}, and an id is never used again: choose another")


def terminal_phrase(key: Terminal) -> str:
    match key:
        case Deactivated():
            return _ENDS[key.end]
        case Voided():
            return "was voided before it existed"
        case Destroyed():
            return "was destroyed"
        case _:
            assert_never(key)


def timestamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
