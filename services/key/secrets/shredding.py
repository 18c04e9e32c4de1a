"""Destroys a key where it lies: every revision of all that is kept of it, with a tombstone in its place."""

from __future__ import annotations

from services.key.secrets.sealing import Tombstone
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_MOST_CONFLICTS = 10
_KINDS = ("key", "import", "signature")
"""What the entries begin with that belong to one key, as `<kind>.<key_id>` or `<kind>.<key_id>.*`."""


async def shred(bucket: KeyValue, key_id: str) -> None:
    """Overwrite the sealed key, leave a tombstone, then overwrite all else that is kept of it: in this order, so that
    whoever would add to it finds the tombstone. Begun again, it ends the same."""
    await _bury(bucket, key_id)
    for kind in _KINDS:
        await bucket.erase_all(f"{kind}.{key_id}.>")
        if kind != "key":
            await bucket.erase_all(f"{kind}.{key_id}")


async def _bury(bucket: KeyValue, key_id: str) -> None:
    place, tombstone = f"key.{key_id}", Tombstone(key_id=key_id).model_dump_json().encode()
    for _ in range(_MOST_CONFLICTS):
        document = await bucket.get(place)
        if document is not None:
            if document.value == tombstone:
                return
            await bucket.erase(document)
        try:
            # Only where there is nothing: an older revision that a crash left is found on the next round.
            await bucket.put(place, tombstone, revision=0)
        except Conflict:
            continue  # somebody put one there meanwhile, or the erasure has not happened: look again
        return
    raise Conflict(f"the entry of key {key_id} cannot be erased: it is there again every time")
