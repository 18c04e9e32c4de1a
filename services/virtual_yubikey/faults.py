"""What goes wrong with a virtual device on demand, and the person who touches it: for tests of whoever drives devices.

A fault is asked for by the number of the APDU, counted over all connections to the device since the plan was made.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

CACHED_FOR = 15.0
"""Seconds for which one touch serves a key whose policy is "cached" (Yubico, PIV PIN and touch policies)."""


class PowerLostError(ConnectionError):
    """The device has no power any more, or another time: what was proved to it is forgotten."""


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The device loses its power and has it again: as it is asked, or *after* it did what it was asked, before it
    could answer."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Unplugged:
    """As a power cut, and the device stays away until it is plugged in again."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Refuses:
    """It answers with this status word and does nothing."""

    status: int


@dataclass(frozen=True, slots=True)
class Slow:
    """It takes so many seconds longer."""

    seconds: float


Fault = PowerCut | Unplugged | Refuses | Slow
Plan = Callable[[int, bytes], Fault | None]
"""Of the APDU's number (from 0) and the APDU: what goes wrong with it."""


def at(number: int, fault: Fault) -> Plan:
    """That fault, at that APDU."""
    return lambda found, _: fault if found == number else None


def whenever(instruction: int, fault: Fault) -> Plan:
    """That fault, at every APDU with that INS."""
    return lambda _, apdu: fault if apdu[1:2] == bytes([instruction]) else None


@dataclass(slots=True)
class Finger:
    """The person at the device: touches it at once, unless there is a script.

    *script*: for each time that it blinks, after how many seconds it is touched; None: nobody touches it, and the
    device gives up (at once, where a YubiKey would wait for 15 s).
    """

    script: deque[float | None] = field(default_factory=deque)
    blinked: int = 0
    _touched_at: float | None = None
    _lock: Lock = field(default_factory=Lock)

    def touches(self, *, cached: bool) -> bool:
        """Whether it is touched, or was a moment ago where the policy is content with that."""
        with self._lock:
            lately = self._touched_at is not None and time.monotonic() - self._touched_at < CACHED_FOR
            if cached and lately:
                return True
            self.blinked += 1
            after = self.script.popleft() if self.script else 0.0
            if after is None:
                return False
            time.sleep(after)
            self._touched_at = time.monotonic()
            return True
