"""Private keys in KEYS_SECRETS: create, read, erase. Each is sealed under its id."""

from __future__ import annotations

from collections import OrderedDict

from services.key.crypto.algorithms import PrivateKey, from_pkcs8, to_pkcs8
from services.key.effects import NewKey
from services.key.secrets.erasure import erase_key
from services.key.secrets.kek_records import put_sealed
from services.key.secrets.keyring import Keyring
from services.key.secrets.sealing import Entry, Tombstone, UnreadableError, open_entry, read, seal
from shared.errors import Conflict
from shared.nats.kv import KeyValue

_CACHED_KEYS = 64
StoredKey = tuple[Entry, PrivateKey]


class DestroyedError(Exception):
    """The private key was destroyed."""


class Entries:
    """Entries are created once and never overwritten; a second writer gets the entry of the first."""

    def __init__(self, bucket: KeyValue, keyring: Keyring) -> None:
        self._bucket = bucket
        self._keyring = keyring
        self.cache: OrderedDict[str, StoredKey] = OrderedDict()

    async def find(self, key_id: str) -> StoredKey | None:
        """Returns the key of that id. Raises DestroyedError, or UnreadableError if it does not decrypt."""
        if (cached := self.cache.get(key_id)) is not None:
            self.cache.move_to_end(key_id)
            return cached
        found = await self._open(_kv_key(key_id), key_id)
        return None if found is None else self._cache(found)

    async def require(self, key_id: str) -> StoredKey:
        found = await self.find(key_id)
        if found is None:
            raise UnreadableError("it has no entry in KEYS_SECRETS; restore the bucket")
        return found

    async def create(self, new: NewKey, private: PrivateKey) -> StoredKey:
        """Seals *private* under its id. If another process was first, returns the key of that process."""
        entry = await self._put(_kv_key(new.key_id), new, private)
        return await self.require(new.key_id) if entry is None else self._cache((entry, private))

    async def recipient(self, key_id: str) -> PrivateKey | None:
        """Returns the one-time private key of an import under *key_id*; None if it was used or never prepared."""
        kv_key = recipient_name(key_id)
        found = await self._open(kv_key, kv_key)
        return None if found is None else found[1]

    async def create_recipient(self, new: NewKey, private: PrivateKey) -> PrivateKey:
        """Stores a one-time key. Its associated data is its name: moved to another entry, it does not decrypt."""
        await self._put(new.key_id, new, private)
        found = await self._open(new.key_id, new.key_id)
        if found is None:
            raise UnreadableError("the one-time key of this import has been erased")
        return found[1]

    async def erase_recipient(self, key_id: str) -> None:
        await self._bucket.erase_all(recipient_name(key_id))

    async def put_once(self, kv_key: str, value: bytes) -> bytes:
        """Creates an entry with *value* and returns the stored content, which may be an earlier one."""
        try:
            await self._bucket.put(kv_key, value, revision=0)
        except Conflict:
            document = await self._bucket.get(kv_key)
            if document is None:
                raise
            return document.value
        return value

    async def read(self, kv_key: str) -> bytes | None:
        document = await self._bucket.get(kv_key)
        return None if document is None else document.value

    async def erase_key(self, key_id: str) -> None:
        self.cache.pop(key_id, None)
        await erase_key(self._bucket, key_id)

    async def _put(self, kv_key: str, new: NewKey, private: PrivateKey) -> Entry | None:
        entry = seal(self._keyring, new, to_pkcs8(private))
        try:
            await put_sealed(self._bucket, self._keyring, kv_key, entry.model_dump_json().encode())
        except Conflict:
            return None
        return entry

    async def _open(self, kv_key: str, sealed_as: str) -> StoredKey | None:
        document = await self._bucket.get(kv_key)
        if document is None:
            return None
        entry = read(document.value)
        if isinstance(entry, Tombstone):
            raise DestroyedError
        return entry, from_pkcs8(open_entry(self._keyring, entry, sealed_as))

    def _cache(self, found: StoredKey) -> StoredKey:
        key_id = found[0].key_id
        self.cache[key_id] = found
        self.cache.move_to_end(key_id)
        if len(self.cache) > _CACHED_KEYS:
            self.cache.popitem(last=False)
        return found


def _kv_key(key_id: str) -> str:
    return f"key.{key_id}"


def recipient_name(key_id: str) -> str:
    """Returns the name of the one-time key of an import, which is also its key in KEYS_SECRETS."""
    return f"import.{key_id}"
