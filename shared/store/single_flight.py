"""Single-flight reads: callers during a read share the next one, which starts after their call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Shares one read among concurrent callers; no caller gets a result from before its call."""

    def __init__(self, read: Callable[[str], Awaitable[V]]) -> None:
        self._read = read
        self._next: dict[str, asyncio.Task[V]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: str) -> V:
        """Returns the result of *read* for *key*, as of now or later. Raises its exceptions."""
        pending = self._next.get(key)
        if pending is None:
            pending = self._next[key] = asyncio.create_task(self._read_next(key))
        return await asyncio.shield(pending)  # a cancelled caller does not cancel it for the others

    async def _read_next(self, key: str) -> V:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            del self._next[key]
            return await self._read(key)
