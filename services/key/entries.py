"""The private keys in KEYS_SECRETS, each sealed under its id: put there once, found again, erased."""

from __future__ import annotations

from collections import OrderedDict

from services.key.algorithms import PrivateKey, from_pkcs8, to_pkcs8
from services.key.kek import KeyEncryptionKey
from services.key.origins import NewKey
from services.key.sealing import Entry, Tombstone, UnreadableError, open_entry, read, seal
from shared.errors import Conflict
from shared.kv import KeyValue

_REMEMBERED = 64
_MOST_CONFLICTS = 10
Held = tuple[Entry, PrivateKey]


class GoneError(Exception):
    """The private key was destroyed."""


class Entries:
    """What is at a place is never written over: who comes second finds what the first has put there."""

    def __init__(self, bucket: KeyValue, kek: KeyEncryptionKey) -> None:
        self._bucket = bucket
        self._kek = kek
        self.loaded: OrderedDict[str, Held] = OrderedDict()

    async def find(self, key_id: str) -> Held | None:
        """Raises GoneError for a destroyed key, UnreadableError for one that does not open."""
        if (loaded := self.loaded.get(key_id)) is not None:
            self.loaded.move_to_end(key_id)
            return loaded
        found = await self._open(_place(key_id), key_id)
        return None if found is None else self._remember(found)

    async def existing(self, key_id: str) -> Held:
        found = await self.find(key_id)
        if found is None:
            raise UnreadableError("it has no entry in KEYS_SECRETS; restore the bucket")
        return found

    async def keep(self, new: NewKey, private: PrivateKey) -> Held:
        """Seal *private* as the key of that id. Another process may have been first: then its key stands."""
        entry = await self._put(_place(new.key_id), new, private)
        return await self.existing(new.key_id) if entry is None else self._remember((entry, private))

    async def recipient(self, key_id: str) -> PrivateKey | None:
        """The private half of what was prepared for an import under *key_id*; None: it has served, or never was."""
        place = _recipient_place(key_id)
        found = await self._open(place, place)
        return None if found is None else found[1]

    async def keep_recipient(self, new: NewKey, private: PrivateKey) -> PrivateKey:
        """It is sealed under the name of its place: put in a key's place it does not open, nor does a key in its."""
        await self._put(new.key_id, new, private)
        found = await self._open(new.key_id, new.key_id)
        if found is None:
            raise UnreadableError("what was prepared for it is gone again")
        return found[1]

    async def forget_recipient(self, key_id: str) -> None:
        last = 0
        while (document := await self._bucket.get(_recipient_place(key_id))) is not None:
            if document.revision == last:
                raise Conflict(f"what was prepared for key {key_id} cannot be erased")
            await self._bucket.erase(document)
            last = document.revision

    async def once(self, place: str, value: bytes) -> bytes:
        """Put *value* at *place* if nothing is there; what is there then."""
        try:
            await self._bucket.put(place, value, revision=0)
        except Conflict:
            document = await self._bucket.get(place)
            if document is None:
                raise
            return document.value
        return value

    async def read(self, place: str) -> bytes | None:
        document = await self._bucket.get(place)
        return None if document is None else document.value

    async def shred(self, key_id: str) -> None:
        """Overwrite the sealed key where it lies, then leave a tombstone; begun again, it ends the same."""
        self.loaded.pop(key_id, None)
        await self._bury(key_id)
        await self.forget_recipient(key_id)

    async def _bury(self, key_id: str) -> None:
        tombstone = Tombstone(key_id=key_id).model_dump_json().encode()
        for _ in range(_MOST_CONFLICTS):
            document = await self._bucket.get(_place(key_id))
            if document is not None:
                if document.value == tombstone:
                    return
                await self._bucket.erase(document)
            try:
                await self._bucket.put(_place(key_id), tombstone, revision=0)
            except Conflict:
                continue  # somebody put one there meanwhile, or the erasure has not happened: look again
            return
        raise Conflict(f"the entry of key {key_id} cannot be erased: it is there again every time")

    async def _put(self, place: str, new: NewKey, private: PrivateKey) -> Entry | None:
        entry = seal(self._kek, new, to_pkcs8(private))
        try:
            await self._bucket.put(place, entry.model_dump_json().encode(), revision=0)
        except Conflict:
            return None
        return entry

    async def _open(self, place: str, sealed_as: str) -> Held | None:
        document = await self._bucket.get(place)
        if document is None:
            return None
        entry = read(document.value)
        if isinstance(entry, Tombstone):
            raise GoneError
        return entry, from_pkcs8(open_entry(self._kek, entry, sealed_as))

    def _remember(self, found: Held) -> Held:
        key_id = found[0].key_id
        self.loaded[key_id] = found
        self.loaded.move_to_end(key_id)
        if len(self.loaded) > _REMEMBERED:
            self.loaded.popitem(last=False)
        return found


def recipient_of(key_id: str) -> str:
    """The name under which the one-time key of an import is sealed, and its place."""
    return _recipient_place(key_id)


def _place(key_id: str) -> str:
    return f"key.{key_id}"


def _recipient_place(key_id: str) -> str:
    return f"import.{key_id}"
