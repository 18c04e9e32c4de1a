"""The private keys in KEYS_SECRETS, each sealed under its id: put there once, found again, erased."""

from __future__ import annotations

from collections import OrderedDict

from services.key.crypto.algorithms import PrivateKey, from_pkcs8, to_pkcs8
from services.key.origins import NewKey
from services.key.secrets.kek_succession import put_sealed
from services.key.secrets.keyring import Keyring
from services.key.secrets.sealing import Entry, Tombstone, UnreadableError, open_entry, read, seal
from services.key.secrets.shredding import shred
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_REMEMBERED = 64
_MOST_CONFLICTS = 10
Held = tuple[Entry, PrivateKey]


class GoneError(Exception):
    """The private key was destroyed."""


class Entries:
    """What is at a place is never written over: who comes second finds what the first has put there."""

    def __init__(self, bucket: KeyValue, keyring: Keyring) -> None:
        self._bucket = bucket
        self._keyring = keyring
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
        await self._bucket.erase_all(_recipient_place(key_id))

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
        self.loaded.pop(key_id, None)
        await shred(self._bucket, key_id)

    async def _put(self, place: str, new: NewKey, private: PrivateKey) -> Entry | None:
        entry = seal(self._keyring, new, to_pkcs8(private))
        try:
            await put_sealed(self._bucket, self._keyring, place, entry.model_dump_json().encode())
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
        return entry, from_pkcs8(open_entry(self._keyring, entry, sealed_as))

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
