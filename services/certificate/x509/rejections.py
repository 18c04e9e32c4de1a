"""Constructors of the rejections of certificate commands."""

from shared.contracts.rejection import RejectionCode
from shared.decider import Rejection


def invalid(problem: str) -> Rejection:
    return Rejection(RejectionCode.INVALID, problem)


def conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)


def not_found(certificate_id: str, hint: str) -> Rejection:
    return Rejection(RejectionCode.NOT_FOUND, f"there is no certificate {certificate_id}{hint}")


def not_allowed(problem: str) -> Rejection:
    return Rejection(RejectionCode.NOT_ALLOWED, problem)
