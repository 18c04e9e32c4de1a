"""Which process may talk to which device: a lease a device in KEYS_DEVICES, counted by epochs (docs/adr/0019).

No two clocks are compared: a lease is over for others when it has stood unrenewed for its length by *their* clock, and
for its holder, at the latest, when its length is over by *its* clock, counted from before it asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from shared.errors import Conflict, Transient
from shared.nats.kv import KeyValue

_CLOCKS_DRIFT = 1.1
log = logging.getLogger(__name__)


def boot_time() -> float:
    """Seconds that go on while the machine is suspended, which those of `time.monotonic` do not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that drives devices. *agent*: the machine, by the name it was given; *home*: its directory's."""

    agent: str
    instance: str
    home: str


@dataclass(frozen=True, slots=True)
class Lease:
    """*until* is for people, and for who only asks whether anybody may still be there; it fences nothing."""

    holder: Holder
    epoch: int
    length: float
    until: datetime
    released: bool = False

    def is_over(self, at: datetime) -> bool:
        return self.released or at > self.until


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    revision: int
    deadline: float


@dataclass(frozen=True, slots=True)
class _Seen:
    revision: int
    since: float


_DOCUMENT = TypeAdapter(Lease)


class Leases:
    """The leases of one process. `require` and `epoch` may be called on any thread, the rest on the loop."""

    def __init__(self, bucket: KeyValue, holder: Holder, length: float, clock: Callable[[], float] = boot_time) -> None:
        self.holder = holder
        self.length = length
        self._bucket = bucket
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._seen: dict[int, _Seen] = {}
        self._used: defaultdict[int, int] = defaultdict(int)
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def held(self) -> list[int]:
        return list(self._held)

    async def read(self, serial: int) -> tuple[Lease | None, int]:
        """The lease as it stands, and its revision."""
        document = await self._bucket.get(f"{serial}.lease")
        return (None, 0) if document is None else (_DOCUMENT.validate_json(document.value), document.revision)

    async def of_this_home(self) -> list[int]:
        """The devices that were last in the hands of this process, or of its predecessors in the same directory."""
        return [
            int(document.key.partition(".")[0])
            async for document in self._bucket.all("*.lease")
            if _DOCUMENT.validate_json(document.value).holder.home == self.holder.home
        ]

    async def take(self, serial: int) -> bool:
        """Take the lease, or renew it. True: it is taken anew, and whoever had it may have left something half done.
        Raises Conflict while it is another's.
        """
        async with self._turns[serial]:
            if (held := self._held.get(serial)) is not None and await self._renew(serial, held):
                return False
            if serial in self._used:
                raise Conflict(f"what was begun on YubiKey {serial} under a lease that was lost is not over yet")
            found, revision = await self.read(serial)
            if found is not None and not self._may_be_taken(serial, found, revision):
                raise Conflict(f"YubiKey {serial} is in the hands of {found.holder.agent}, until {found.until}")
            epoch = (found.epoch if found is not None else 0) + 1
            await self._write(serial, self._lease(epoch), revision)
            return True

    async def release(self, serial: int) -> None:
        """Give the lease up: whoever has the device now may take it at once. Its epoch stays."""
        async with self._turns[serial]:
            if (held := self._held.pop(serial, None)) is not None:
                over = replace(held.lease, until=datetime.now(UTC), released=True)
                await self._bucket.put(f"{serial}.lease", _DOCUMENT.dump_json(over), held.revision)

    async def put(self, serial: int, key: str, value: bytes) -> int:
        """Write a document about the device. The server takes it only while the lease stands as it was written last:
        Conflict, if another has it by now.
        """
        async with self._turns[serial]:
            self.require(serial)
            held = self._held[serial]
            try:
                return await self._bucket.put(key, value, held.revision, unique=f"{serial}.lease")
            except Conflict:
                if not await self._renew(serial, held):
                    raise
                return await self._bucket.put(key, value, self._held[serial].revision, unique=f"{serial}.lease")

    def holds(self, serial: int) -> bool:
        return serial in self._held

    def require(self, serial: int, epoch: int | None = None) -> int:
        """The epoch of the lease. Raises Transient when it is not this process's, or not that *epoch* any more."""
        held = self._held.get(serial)
        if held is None or self._clock() >= held.deadline or epoch not in (None, held.lease.epoch):
            raise Transient(f"YubiKey {serial} is not, or no longer, in the hands of this process")
        return held.lease.epoch

    @contextmanager
    def using(self, serial: int) -> Iterator[None]:
        """While something is done under a lease, one that was lost meanwhile is not taken again: who had it in
        between may have changed what is known of the device.
        """
        self._used[serial] += 1
        try:
            yield
        finally:
            self._used[serial] -= 1
            if not self._used[serial]:
                del self._used[serial]

    async def _renew(self, serial: int, held: _Held) -> bool:
        """Whether the lease is still this process's: where the news of the last renewal was lost, it is too."""
        lease = self._lease(held.lease.epoch)
        try:
            await self._write(serial, lease, held.revision)
        except Conflict:
            found, revision = await self.read(serial)
            if found is None or found.released or (found.holder, found.epoch) != (self.holder, lease.epoch):
                self._lose(serial, held)
                return False
            await self._write(serial, lease, revision)
        return True

    def _may_be_taken(self, serial: int, found: Lease, revision: int) -> bool:
        theirs, ours = found.holder, self.holder
        if found.released or (theirs.agent, theirs.home) == (ours.agent, ours.home):
            return True  # our own directory's: we have its lock, so it is ours, or a dead predecessor's
        seen = self._seen.get(serial)
        if seen is None or seen.revision != revision:
            self._seen[serial] = _Seen(revision, self._clock())
            return False
        return self._clock() - seen.since > found.length * _CLOCKS_DRIFT

    async def _write(self, serial: int, lease: Lease, revision: int) -> None:
        asked = self._clock()
        written = await self._bucket.put(f"{serial}.lease", _DOCUMENT.dump_json(lease), revision)
        self._held[serial] = _Held(lease, written, asked + lease.length)

    def _lease(self, epoch: int) -> Lease:
        return Lease(self.holder, epoch, self.length, datetime.now(UTC) + timedelta(seconds=self.length))

    def _lose(self, serial: int, held: _Held) -> None:
        if self._held.get(serial) is held:
            del self._held[serial]
            log.warning("the lease of YubiKey %d (epoch %d) is another's", serial, held.lease.epoch)
