"""Asking once for many: who asks while a question is under way shares the next one, which begins after they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Answers no older than the asking, by fewer questions than there are who ask."""

    def __init__(self, look: Callable[[str], Awaitable[V]]) -> None:
        self._look = look
        self._next: dict[str, asyncio.Task[V]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, key: str) -> V:
        """What `look` says of *key*, as of now or later. Raises what it raises."""
        coming = self._next.get(key)
        if coming is None:
            coming = self._next[key] = asyncio.create_task(self._look_next(key))
        return await asyncio.shield(coming)  # one who gives up does not take it from the others

    async def _look_next(self, key: str) -> V:
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            del self._next[key]
            return await self._look(key)
