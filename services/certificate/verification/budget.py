"""Budget of path building: limits on the work that one certificate may cause, against denial of service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathLimits:
    """Limits of one path building.

    *intermediates* bounds a path without its self-issued certificates, *length* the whole path. *names* bounds the
    comparisons of a name with a subtree; RFC 5280, section 8, recommends a limit and gives no number.
    """

    intermediates: int = 10
    length: int = 24
    signatures: int = 250
    steps: int = 5000
    names: int = 250_000


DEFAULT_LIMITS = PathLimits()


class BudgetExceeded(Exception):
    """A path building needs more work than its limits allow. Legitimate certificates stay far below them."""


class Budget:
    """Counters of the work done, which raise BudgetExceeded at the limits."""

    def __init__(self, limits: PathLimits) -> None:
        self._limits = limits
        self.signatures = self.steps = self.names = 0

    def check_signature(self) -> None:
        self.signatures += 1
        if self.signatures > self._limits.signatures:
            raise BudgetExceeded(f"more than {self._limits.signatures} signatures would have to be checked")

    def step(self) -> None:
        self.steps += 1
        if self.steps > self._limits.steps:
            raise BudgetExceeded(f"more than {self._limits.steps} issuers would have to be tried")

    def compare_names(self, count: int) -> None:
        self.names += count
        if self.names > self._limits.names:
            raise BudgetExceeded(
                f"more than {self._limits.names} names would have to be compared with name constraints"
            )
