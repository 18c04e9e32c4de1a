"""Retry policy: how many attempts a command has, and the delay between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from shared.contracts.rejection import RejectionCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Exponential backoff after a retryable rejection.

    *never*: rejection codes that end the step at once, even if the service calls them retryable.
    """

    attempts: int = 3
    delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max_delay: timedelta = timedelta(seconds=60)
    never: frozenset[RejectionCode] = frozenset()

    def delay_after(self, attempt: int) -> timedelta:
        """Returns the delay between *attempt* and the next one.

        The logarithm comes first: after about 50 doublings the delay would overflow a timedelta.
        """
        doublings = math.log(self.max_delay / self.delay) / math.log(self.factor) if self.factor > 1 else attempt
        return self.max_delay if attempt - 1 >= doublings else self.delay * self.factor ** (attempt - 1)


DEFAULT_RETRY = Retry()
