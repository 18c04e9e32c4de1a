"""How the key service says no: the same words for the same thing in every command."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from services.key.states import Destroyed, End, Ended, Over, Voided
from shared.contracts.key.value_types import Algorithm, Purpose
from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection

_ENDS = {
    End.EXPIRED: "has expired",
    End.ROTATION_COMPLETED: "was replaced by another",
    End.REVOKED: "is revoked",
    End.ARCHIVED: "is archived",
}


def invalid(problem: str) -> Rejection:
    return Rejection(RejectionCode.INVALID, problem)


def not_allowed(problem: str) -> Rejection:
    return Rejection(RejectionCode.NOT_ALLOWED, problem)


def conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)


def not_found(key_id: str, remedy: str = ": generate it first") -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no key {key_id}{remedy}")


def taken(key_id: str, algorithm: Algorithm, purpose: Purpose) -> Rejection:
    """The answer to who wants an id for another kind of key than has it."""
    return conflict(
        f"key {key_id} exists and is {algorithm} for {purpose}: ask for just that, or choose another key_id"
    )


def never_again(key_id: str, key: Ended) -> Rejection:
    return conflict(f"key {key_id} {end_of(key)}, and an id is never used again: choose another")


def end_of(key: Ended) -> str:
    match key:
        case Over():
            return _ENDS[key.end]
        case Voided():
            return "was voided before it existed"
        case Destroyed():
            return "was destroyed"
        case _:
            assert_never(key)


def day(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
