"""Where issuers stand now, read once for all who ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from services.certificate.states import Certificate


class Freshly:
    """Who asks while a read is under way gets the next one, which begins after they asked; so do all others meanwhile.

    An issuer is looked at for each certificate, from the leader: what a thousand wait for is read a few times only.
    """

    def __init__(self, read: Callable[[str], Awaitable[Certificate]]) -> None:
        self._read = read
        self._next: dict[str, asyncio.Task[Certificate]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, certificate_id: str) -> Certificate:
        coming = self._next.get(certificate_id)
        if coming is None:
            coming = self._next[certificate_id] = asyncio.create_task(self._read_next(certificate_id))
        return await asyncio.shield(coming)

    async def _read_next(self, certificate_id: str) -> Certificate:
        turn = self._turns.setdefault(certificate_id, asyncio.Lock())
        async with turn:
            del self._next[certificate_id]
            return await self._read(certificate_id)
