"""Fault injection and simulated touches, for tests of software that uses devices.

A plan maps APDUs to faults. APDUs are numbered from 0 over all connections since the plan was set.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

TOUCH_CACHE_S = 15.0
"""Time for which one touch counts for touch policy "cached" (Yubico, PIV PIN and touch policies)."""


class PowerLostError(ConnectionError):
    """The device lost its power since the connection was opened: its security status is reset."""


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A loss of power for a moment, before the APDU is processed, or *after* it and before the response."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """Like a power cut, but the device stays away until it is plugged in again."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """A response with this status word, without processing the APDU."""

    status: int


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay before the APDU is processed."""

    seconds: float


Fault = PowerCut | Removal | ErrorStatus | Delay
FaultPlan = Callable[[int, bytes], Fault | None]
"""Maps the number of an APDU and the APDU to a fault, or to None."""


def at_apdu(number: int, fault: Fault) -> FaultPlan:
    """Injects *fault* at the APDU with this number."""
    return lambda current, _: fault if current == number else None


def at_instruction(instruction: int, fault: Fault) -> FaultPlan:
    """Injects *fault* at every APDU with this INS."""
    return lambda _, apdu: fault if apdu[1:2] == bytes([instruction]) else None


@dataclass(slots=True)
class TouchSensor:
    """A simulated touch sensor, touched at once unless there is a script.

    *script*: delay in seconds of each touch, in order; None: no touch, and the wait fails at once (a YubiKey waits for
    15 s). *blinks*: number of requests for a touch.
    """

    script: deque[float | None] = field(default_factory=deque)
    blinks: int = 0
    _touched_at: float | None = None
    _lock: Lock = field(default_factory=Lock)

    def wait_for_touch(self, *, cached: bool) -> bool:
        """Waits for a touch. Returns False if there is none. *cached*: a touch in the last 15 s counts."""
        with self._lock:
            is_cached = self._touched_at is not None and time.monotonic() - self._touched_at < TOUCH_CACHE_S
            if cached and is_cached:
                return True
            self.blinks += 1
            delay_s = self.script.popleft() if self.script else 0.0
            if delay_s is None:
                return False
            time.sleep(delay_s)
            self._touched_at = time.monotonic()
            return True
