"""State directory of a yubikey process: locked by one process at a time, with an identity of its own."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from typing import IO
from uuid import uuid4

from shared.errors import Unusable

_RETRY_INTERVAL_S = 0.1


class StateDirectory:
    """STATE_DIR, locked. The lock ends with its process.

    So a process that holds it has no living predecessor in this directory, and does not wait until its leases expire.
    """

    def __init__(self, directory: Path, lock: IO[str], identity: str) -> None:
        self.directory = directory
        self.identity = identity
        self._lock = lock

    @classmethod
    async def claim(cls, directory: Path, timeout_s: float) -> StateDirectory:
        """Locks *directory*. Raises Unusable if another process still holds the lock after *timeout_s*."""
        lock = _lock_file(directory)
        for _ in range(int(timeout_s / _RETRY_INTERVAL_S) + 1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_RETRY_INTERVAL_S)
            else:
                return cls(directory, lock, _identity(lock))
        lock.close()
        problem = f"STATE_DIR {directory} is in use by another yubikey service, which would use the same devices"
        raise Unusable(f"{problem}: give each its own directory, or stop the other one")

    def release(self) -> None:
        self._lock.close()


def _lock_file(directory: Path) -> IO[str]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return (directory / "lock").open("a+")


def _identity(lock: IO[str]) -> str:
    """The identity of the directory: generated once, and stored in the lock file."""
    lock.seek(0)
    if not (identity := lock.read().strip()):
        identity = str(uuid4())
        lock.write(identity + "\n")
        lock.flush()
    return identity
