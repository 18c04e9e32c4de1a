"""What is about to be done to a slot, written to KEYS_DEVICES before it is done.

A device's effects cannot be taken back or asked for twice; after a crash this tells whether one was performed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from services.yubikey.core.states import VOIDED
from services.yubikey.state.leases import Leases
from shared.contracts.yubikey.slots import Slot
from shared.errors import Conflict
from shared.nats.kv import KeyValue

BUCKET = "KEYS_DEVICES"


@dataclass(frozen=True, slots=True)
class Intent:
    """*operation_id* filled or cleared the slot for *key_id*, when its key had the fingerprint *before* (none: no key).

    *occupied*: whether it had to do away with something. *overwrote*: whether what a clearing takes away had done so.
    *discarded*: a key that stands there only because firmware before 5.7 cannot delete one. *voided*: the key ids
    cleared here. The log knows them too, but what is decided on may lag behind it, and a late command must not make a
    key that nobody clears any more. *epoch*: of the lease that it was written under.
    """

    operation_id: str = ""
    key_id: str | None = None
    before: str | None = None
    occupied: bool = False
    discarded: str | None = None
    voided: tuple[str, ...] = ()
    overwrote: bool = False
    epoch: int = 0

    def owns(self, key_id: str, fingerprint: str | None) -> bool:
        """Whether the slot's key, of this fingerprint, was put there for *key_id*."""
        return self.key_id == key_id and fingerprint not in (None, self.before)

    def voiding(self, key_id: str) -> Intent:
        return self if key_id in self.voided else replace(self, voided=(*self.voided, key_id)[-VOIDED:])


_DOCUMENT = TypeAdapter(Intent)


@dataclass(frozen=True, slots=True)
class Intents:
    """With *leases*, an intent is written only by who has the device: one that slept through its lease writes none."""

    bucket: KeyValue
    leases: Leases | None = None

    async def read(self, serial: str, slot: str) -> tuple[Intent, int]:
        """The last intent about the slot, and its revision."""
        document = await self.bucket.get(f"{serial}.{slot}")
        if document is None:
            return Intent(), 0
        return _DOCUMENT.validate_json(document.value), document.revision

    async def all(self, serial: str) -> dict[Slot, Intent]:
        """The last intent about each slot that there ever was one about."""
        return {
            Slot(slot): _DOCUMENT.validate_json(document.value)
            async for document in self.bucket.all(f"{serial}.*")
            if (slot := document.key.rpartition(".")[2]) in set(Slot)
        }

    async def write(self, serial: str, slot: str, intent: Intent, revision: int) -> int:
        """Raises Conflict when another process is about to change this slot, or has the device by now."""
        if self.leases is not None:
            epoch = self.leases.require(int(serial))
            if intent.epoch > epoch:
                raise Conflict(f"YubiKey {serial} has a holder of epoch {intent.epoch}; this process had {epoch}")
            document = _DOCUMENT.dump_json(replace(intent, epoch=epoch))
            return await self.leases.put(int(serial), f"{serial}.{slot}", document)
        return await self.bucket.put(f"{serial}.{slot}", _DOCUMENT.dump_json(intent), revision)
