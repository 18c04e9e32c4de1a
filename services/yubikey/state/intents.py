"""Intents: the planned change of a slot, written to KEYS_DEVICES before the device changes (write-ahead).

Changes of a device are neither reversible nor idempotent. After a crash, the intent shows whether one was performed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from services.yubikey.core.states import MAX_VOIDED_KEY_IDS
from services.yubikey.state.leases import Leases
from shared.contracts.yubikey.slots import Slot
from shared.errors import Conflict
from shared.nats.kv import KeyValue

BUCKET = "KEYS_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The last change of a slot: *operation_id* filled or cleared it for *key_id*. Field names are those of the JSON.

    *before*: fingerprint of the key at that time; None: no key. *occupied*: the slot had to be overwritten.
    *overwrote*: the key that a clearing deletes had overwritten another one. *discarded*: fingerprint of the
    placeholder key, since firmware before 5.7 cannot delete keys. *epoch*: the lease under which it was written.

    *voided*: key ids that were cleared here. Events have them too, but the state of the decider may lag behind, and a
    late command must not create a key that nothing clears.
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
        """True if the slot's key, with this fingerprint, was put there for *key_id*."""
        return self.key_id == key_id and fingerprint not in (None, self.before)

    def void(self, key_id: str) -> Intent:
        """Adds *key_id* to the voided ones."""
        return self if key_id in self.voided else replace(self, voided=(*self.voided, key_id)[-MAX_VOIDED_KEY_IDS:])


_DOCUMENT = TypeAdapter(Intent)


@dataclass(frozen=True, slots=True)
class Intents:
    """The intents in KEYS_DEVICES. With *leases*, a process whose lease has expired cannot write one."""

    bucket: KeyValue
    leases: Leases | None = None

    async def read(self, serial: str, slot: str) -> tuple[Intent, int]:
        """The last intent of a slot, and its revision."""
        document = await self.bucket.get(f"{serial}.{slot}")
        if document is None:
            return Intent(), 0
        return _DOCUMENT.validate_json(document.value), document.revision

    async def all(self, serial: str) -> dict[Slot, Intent]:
        """The last intent of each slot that has one."""
        return {
            Slot(slot): _DOCUMENT.validate_json(document.value)
            async for document in self.bucket.all(f"{serial}.*")
            if (slot := document.key.rpartition(".")[2]) in set(Slot)
        }

    async def write(self, serial: str, slot: str, intent: Intent, revision: int) -> int:
        """Writes an intent. Raises Conflict if another process wrote one, or holds the device's lease by now."""
        if self.leases is not None:
            epoch = self.leases.require(int(serial))
            if intent.epoch > epoch:
                raise Conflict(
                    f"the lease of YubiKey {serial} is at epoch {intent.epoch}; this process had epoch {epoch}"
                )
            document = _DOCUMENT.dump_json(replace(intent, epoch=epoch))
            return await self.leases.put(int(serial), f"{serial}.{slot}", document)
        return await self.bucket.put(f"{serial}.{slot}", _DOCUMENT.dump_json(intent), revision)
