"""What is asked of path validation, and what can be heard back."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.certificate.commands import VerifyCertificate
from shared.contracts.rejection import RejectionCode


@dataclass(frozen=True, slots=True)
class CheckPath:
    """*at*: the instant that is asked about. Where the request has no certificate, it is the one of its id."""

    request: VerifyCertificate
    at: datetime


@dataclass(frozen=True, slots=True)
class PathChecked:
    """*reason* is None where it is good; *path* leads from it to its root."""

    plan: CheckPath
    reason: str | None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathNotChecked:
    """What is asked cannot be answered: what it is asked about, or by, is not there or is none."""

    code: RejectionCode
    problem: str
