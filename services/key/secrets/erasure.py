"""Erasure of a key: overwrites every revision of its entries and leaves a tombstone."""

from __future__ import annotations

from services.key.secrets.sealing import Tombstone
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_MAX_CONFLICTS = 10
_KINDS = ("key", "import", "signature")
"""Prefixes of the entries of one key: `<kind>.<key_id>` or `<kind>.<key_id>.*`."""


async def erase_key(bucket: KeyValue, key_id: str) -> None:
    """Overwrites the sealed key, writes the tombstone, then overwrites all related entries. Idempotent.

    The tombstone comes first, so that a concurrent writer finds it.
    """
    await _leave_tombstone(bucket, key_id)
    for kind in _KINDS:
        await bucket.erase_all(f"{kind}.{key_id}.>")
        if kind != "key":
            await bucket.erase_all(f"{kind}.{key_id}")


async def _leave_tombstone(bucket: KeyValue, key_id: str) -> None:
    kv_key, tombstone = f"key.{key_id}", Tombstone(key_id=key_id).model_dump_json().encode()
    for _ in range(_MAX_CONFLICTS):
        document = await bucket.get(kv_key)
        if document is not None:
            if document.value == tombstone:
                return
            await bucket.erase(document)
        try:
            # Revision 0: an older revision that a crash left is found in the next round.
            await bucket.put(kv_key, tombstone, revision=0)
        except Conflict:
            continue  # a concurrent write, or the erasure has not been applied yet
        return
    raise Conflict(f"the entry of key {key_id} cannot be erased: it reappears after each attempt")
