"""Leases: the exclusive right of one process to use a device, in KEYS_DEVICES, with a fencing token (docs/adr/0019).

The fencing token is the *epoch*, which grows with each new lease. No two clocks are compared. For other processes a
lease expires when its revision has not changed for its length by *their* clock. For its holder it expires by *its*
clock, counted from before the write.
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

_CLOCK_DRIFT = 1.1
"""Safety factor for clocks that run at different speeds."""

log = logging.getLogger(__name__)


def boot_time() -> float:
    """Monotonic seconds that also count while the machine is suspended, unlike `time.monotonic`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that uses devices. *agent*: name of its machine. *home*: identity of its state directory."""

    agent: str
    instance: str
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease, with the field names of the stored JSON.

    *until* is informative, for people and for routing; it fences nothing. *length*: in seconds.
    """

    holder: Holder
    epoch: int
    length: float
    until: datetime
    released: bool = False

    def is_expired(self, at: datetime) -> bool:
        return self.released or at > self.until


@dataclass(frozen=True, slots=True)
class _HeldLease:
    """A lease of this process. *deadline*: expiry by this process's clock."""

    lease: Lease
    revision: int
    deadline: float


@dataclass(frozen=True, slots=True)
class _ObservedRevision:
    """A revision of another process's lease, and the time of its first observation."""

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
        self._held: dict[int, _HeldLease] = {}
        self._observed: dict[int, _ObservedRevision] = {}
        self._in_use: defaultdict[int, int] = defaultdict(int)
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def held(self) -> list[int]:
        return list(self._held)

    async def read(self, serial: int) -> tuple[Lease | None, int]:
        """The current lease of a device, and its revision."""
        document = await self._bucket.get(f"{serial}.lease")
        return (None, 0) if document is None else (_DOCUMENT.validate_json(document.value), document.revision)

    async def serials_of_this_home(self) -> list[int]:
        """Devices whose last lease belongs to this process, or to its predecessors in the same directory."""
        return [
            int(document.key.partition(".")[0])
            async for document in self._bucket.all("*.lease")
            if _DOCUMENT.validate_json(document.value).holder.home == self.holder.home
        ]

    async def acquire(self, serial: int) -> bool:
        """Acquires the lease, or renews it. Raises Conflict while another process holds it.

        Returns True for a new lease: its previous holder may have left an operation unfinished.
        """
        async with self._locks[serial]:
            if (held := self._held.get(serial)) is not None and await self._renew(serial, held):
                return False
            if serial in self._in_use:
                raise Conflict(f"an operation on YubiKey {serial} under a lost lease has not ended yet")
            found, revision = await self.read(serial)
            if found is not None and not self._is_free(serial, found, revision):
                raise Conflict(f"YubiKey {serial} is leased by {found.holder.agent} until {found.until}")
            epoch = (found.epoch if found is not None else 0) + 1
            await self._write(serial, self._lease(epoch), revision)
            return True

    async def release(self, serial: int) -> None:
        """Releases the lease, so that another process can acquire it at once. The epoch stays."""
        async with self._locks[serial]:
            if (held := self._held.pop(serial, None)) is not None:
                released = replace(held.lease, until=datetime.now(UTC), released=True)
                await self._bucket.put(f"{serial}.lease", _DOCUMENT.dump_json(released), held.revision)

    async def put(self, serial: int, key: str, value: bytes) -> int:
        """Writes a document about the device, fenced by the lease.

        The server accepts it only if the lease's revision is still the last. Raises Conflict otherwise.
        """
        async with self._locks[serial]:
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
        """The epoch of the lease. Raises Transient if this process does not hold it, or not at *epoch*."""
        held = self._held.get(serial)
        if held is None or self._clock() >= held.deadline or epoch not in (None, held.lease.epoch):
            raise Transient(f"YubiKey {serial} is not, or no longer, leased by this process")
        return held.lease.epoch

    @contextmanager
    def in_use(self, serial: int) -> Iterator[None]:
        """Keeps a lease that is lost inside the block from being acquired again before the block ends.

        A holder in between may have changed the device, which the operation would not notice.
        """
        self._in_use[serial] += 1
        try:
            yield
        finally:
            self._in_use[serial] -= 1
            if not self._in_use[serial]:
                del self._in_use[serial]

    async def _renew(self, serial: int, held: _HeldLease) -> bool:
        """Renews the lease. Returns False if another process has it.

        A conflict may also come from this process's own write, if its acknowledgement was lost.
        """
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

    def _is_free(self, serial: int, found: Lease, revision: int) -> bool:
        theirs, ours = found.holder, self.holder
        if found.released or (theirs.agent, theirs.home) == (ours.agent, ours.home):
            return True  # this process has the directory's lock: the holder is itself, or a dead predecessor
        observed = self._observed.get(serial)
        if observed is None or observed.revision != revision:
            self._observed[serial] = _ObservedRevision(revision, self._clock())
            return False
        return self._clock() - observed.since > found.length * _CLOCK_DRIFT

    async def _write(self, serial: int, lease: Lease, revision: int) -> None:
        started = self._clock()
        written = await self._bucket.put(f"{serial}.lease", _DOCUMENT.dump_json(lease), revision)
        self._held[serial] = _HeldLease(lease, written, started + lease.length)

    def _lease(self, epoch: int) -> Lease:
        until = datetime.now(UTC) + timedelta(seconds=self.length)
        return Lease(holder=self.holder, epoch=epoch, length=self.length, until=until)

    def _lose(self, serial: int, held: _HeldLease) -> None:
        if self._held.get(serial) is held:
            del self._held[serial]
            log.warning("another process has the lease of YubiKey %d (this one had epoch %d)", serial, held.lease.epoch)
