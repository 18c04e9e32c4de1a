"""Effect and outcomes of path validation."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.certificate.commands import VerifyCertificate
from shared.contracts.rejection import RejectionCode


@dataclass(frozen=True, slots=True)
class CheckPath:
    """Validate the certificate of *request*, or the one of its id, at the instant *at*."""

    request: VerifyCertificate
    at: datetime


@dataclass(frozen=True, slots=True)
class PathChecked:
    """The result: *reason* is None for a valid certificate, whose *path* leads from it to its root."""

    effect: CheckPath
    reason: str | None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathNotChecked:
    """The command is rejected: a certificate that it names does not exist, or one that it contains is unreadable."""

    code: RejectionCode
    problem: str
