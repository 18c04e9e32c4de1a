"""The directory that a yubikey process keeps its state in: one process at a time, and what tells it from others."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from typing import IO
from uuid import uuid4

from shared.errors import Unusable

_LOOK_AGAIN = 0.1


class Home:
    """STATE_DIR, locked. The lock ends with its process, however that ends: who has it knows that its predecessor in
    this directory is dead, and need not wait for what that one had leased.
    """

    def __init__(self, directory: Path, lock: IO[str], identity: str) -> None:
        self.directory = directory
        self.identity = identity
        self._lock = lock

    @classmethod
    async def claim(cls, directory: Path, patience: float) -> Home:
        """Lock *directory*; its last owner may take *patience* seconds to end. Raises Unusable while it has not."""
        lock = _lock_file(directory)
        for _ in range(int(patience / _LOOK_AGAIN) + 1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOOK_AGAIN)
            else:
                return cls(directory, lock, _identity(lock))
        lock.close()
        problem = f"STATE_DIR {directory} is in use by another yubikey service, which would drive the same devices"
        raise Unusable(f"{problem}: give each a directory of its own, or stop that one")

    def release(self) -> None:
        self._lock.close()


def _lock_file(directory: Path) -> IO[str]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return (directory / "lock").open("a+")


def _identity(lock: IO[str]) -> str:
    """Drawn once for a directory, and kept in its lock file."""
    lock.seek(0)
    if not (identity := lock.read().strip()):
        identity = str(uuid4())
        lock.write(identity + "\n")
        lock.flush()
    return identity
