"""Asking once for many: who asks while a question is under way shares the next one, which begins after they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Latest(Generic[K, V]):
    """Answers no older than the asking, by fewer questions than there are who ask."""

    def __init__(self, look: Callable[[K], Awaitable[V]]) -> None:
        self._look = look
        self._looking: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def ask(self, key: K) -> V:
        """What `look` says of *key*, as of now or later. Raises what it raises."""
        if (following := self._next.get(key)) is None:
            under_way = self._looking.get(key)
            following = asyncio.ensure_future(self._after(key, under_way))
            if under_way is not None:
                self._next[key] = following
            else:
                self._looking[key] = following
        return await asyncio.shield(following)  # one who gives up does not take it from the others

    async def _after(self, key: K, under_way: asyncio.Task[V] | None) -> V:
        mine = asyncio.current_task()
        if under_way is not None:
            await asyncio.wait([under_way])
            del self._next[key]
            assert isinstance(mine, asyncio.Task)
            self._looking[key] = mine
        try:
            return await self._look(key)
        finally:
            if self._looking.get(key) is mine:
                del self._looking[key]
