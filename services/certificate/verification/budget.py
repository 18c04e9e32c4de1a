"""What a path is judged by: the rules, what it is to be good for, and how much work may be done for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathLimits:
    """How much is done before a path is given up.

    *intermediates*: how many a path may have, self-issued ones not counted; *length*: with them, and with both ends.
    *names*: how often a name is compared with a subtree of name constraints (RFC 5280, section 8, has no number).
    """

    intermediates: int = 10
    length: int = 24
    signatures: int = 250
    steps: int = 5000
    names: int = 250_000


DEFAULT_LIMITS = PathLimits()


class BudgetExceeded(Exception):
    """More work than the limits allow: what asks for it is no honest path."""


class WorkBudget:
    """What is done, counted."""

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
