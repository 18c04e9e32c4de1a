"""The key-encryption key, proven to be the one that KEYS_SECRETS is sealed with; and the one before it, while a change
from it is under way."""

from __future__ import annotations

import asyncio

from services.key.secrets import kek_succession
from services.key.secrets.kek_succession import OfKeyFile, OfPassphrase, Told
from services.key.secrets.keyring import KeyEncryptionKey, Keyring
from services.key.secrets.source import MIN_PASSPHRASE_LENGTH, KeyFile, Passphrase, Secret
from shared.errors import Conflict, Unusable
from shared.nats.kv import KeyValue

_MOST_CONFLICTS = 10


async def unlock(bucket: KeyValue, secret: Secret, previous: Secret | None = None) -> Keyring:
    """The keys that *bucket* is sealed with; on the first start, what it is sealed with from now on. When only
    *previous* leads to one, the key of *secret* follows that.

    Raises Unusable when the secrets do not lead there.
    """
    for one in (secret, previous):
        if isinstance(one, Passphrase) and len(one.text) < MIN_PASSPHRASE_LENGTH:
            raise Unusable(f"the passphrase is shorter than {MIN_PASSPHRASE_LENGTH} characters: use a longer one")
    for _ in range(_MOST_CONFLICTS):
        try:
            return await _Unlocking(bucket, secret, previous).run()
        except Conflict:  # a sibling began, or went on, meanwhile
            await asyncio.sleep(0.05)
    raise Unusable(
        f"what tells the key-encryption key of {bucket.bucket} changes all the time: nobody else may write there"
    )


class _Unlocking:
    """One attempt. Raises Conflict when what it decided on does not stand any more."""

    def __init__(self, bucket: KeyValue, secret: Secret, previous: Secret | None) -> None:
        self._bucket = bucket
        self._secret = secret
        self._previous = previous

    async def run(self) -> Keyring:
        if await self._bucket.get(kek_succession.ANY) is None:
            return await self._begin()
        told = await kek_succession.told(self._bucket)
        current = await _proven(told, self._secret)
        former = await _proven(told, self._previous) if self._previous is not None else None
        if current is None and former is None:
            raise Unusable(self._mismatch(told))
        if current is None and former is not None:
            return await self._follow(told, former)
        assert current is not None
        await self._require_standing(told[current.kek_id], current)
        others = {kek_id: one for kek_id, one in told.items() if kek_id != current.kek_id}
        if former is not None and former.kek_id in others:
            if not kek_succession.endorsed_by(others[former.kek_id], former):
                raise Unusable(f"{self._bucket.bucket}/kek.{former.kek_id} was altered: restore it")
            return Keyring(current, former)
        if others:
            await self._finish(others)
        return Keyring(current)

    async def _begin(self) -> Keyring:
        if await self._bucket.get("key.*") is not None:
            name = self._bucket.bucket
            raise Unusable(f"{name} holds keys, but not what their key-encryption key is told by: restore it")
        facts, kek = await asyncio.to_thread(kek_succession.invent, self._secret)
        # Unique over all ids: siblings that begin at once with different secrets must not both succeed.
        await kek_succession.put(self._bucket, facts, unique=kek_succession.ANY)
        return Keyring(kek)

    async def _follow(self, told: dict[str, Told], former: KeyEncryptionKey) -> Keyring:
        """Only who has the key that stands may name the next."""
        last = told[former.kek_id]
        if last.facts.successor is not None or len(told) > 1:
            raise Unusable(
                f"{self._bucket.bucket} is being sealed anew, but not under this {_called(self._secret)}: "
                "finish that change first, with the secret that it was begun with"
            )
        facts, kek = await asyncio.to_thread(kek_succession.invent, self._secret)
        await kek_succession.succeed(self._bucket, last, former, facts)
        return Keyring(kek, former)

    async def _require_standing(self, one: Told, kek: KeyEncryptionKey) -> None:
        """Raises Unusable when *one* was followed by another; puts its document where a crash left that out."""
        if one.facts.successor is not None:
            if not kek_succession.endorsed_by(one, kek):
                raise Unusable(f"{self._bucket.bucket}/{one.key} was altered: restore it")
            raise Unusable(
                f"the {_called(self._secret)} was replaced: start with the new secret, and this one as the previous one"
            )
        if not one.revision:
            await kek_succession.put(self._bucket, one.facts)

    async def _finish(self, others: dict[str, Told]) -> None:
        """What a sibling that ended too early left of a finished change. Raises Unusable for one not finished."""
        under, of_all = await kek_succession.retire(self._bucket, others)
        if not under:
            return
        entries = f"{under} of {of_all} entries in {self._bucket.bucket} are still sealed under the previous secret"
        if self._previous is None:
            raise Unusable(f"{entries}: give that one too, as KEY_PREVIOUS_PASSPHRASE_FILE or its like")
        raise Unusable(f"{entries}, and the previous {_called(self._previous)} that was given is not that one")

    def _mismatch(self, told: dict[str, Told]) -> str:
        name, called = self._bucket.bucket, _called(self._secret)
        if self._previous is not None:
            previous = _called(self._previous)
            return f"neither the {called} nor the previous {previous} is the one that {name} was sealed with"
        kinds = {type(one.facts) for one in told.values()}
        if kinds == {OfPassphrase} and isinstance(self._secret, KeyFile):
            return f"{name} was sealed with a passphrase, not with a key file: give the passphrase"
        if kinds == {OfKeyFile} and isinstance(self._secret, Passphrase):
            return f"{name} was sealed with a key file, not with a passphrase: give the key file"
        return f"the {called} is not the one that {name} was sealed with"


async def _proven(told: dict[str, Told], secret: Secret) -> KeyEncryptionKey | None:
    """The key that *secret* leads to, if it is one of those told of."""
    for one in told.values():
        match one.facts, secret:
            case OfPassphrase() as facts, Passphrase():
                key = await asyncio.to_thread(facts.derive, secret)
            case OfKeyFile(), KeyFile():
                key = secret.key
            case _:
                continue
        kek = KeyEncryptionKey(one.facts.kek_id, key)
        if one.facts.proves(kek):
            return kek
    return None


def _called(secret: Secret) -> str:
    return "passphrase" if isinstance(secret, Passphrase) else "key file"
