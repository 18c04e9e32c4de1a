"""Unlocks KEYS_SECRETS: finds the key-encryption key (KEK) of the given secret, and its predecessor during a change."""

from __future__ import annotations

import asyncio

from services.key.secrets import kek_records
from services.key.secrets.kek_records import KekRecord, KeyFileKek, PassphraseKek
from services.key.secrets.keyring import KeyEncryptionKey, Keyring
from services.key.secrets.source import MIN_PASSPHRASE_LENGTH, KeyFile, Passphrase, Secret
from shared.errors import Conflict, Unusable
from shared.nats.kv import KeyValue

_MAX_CONFLICTS = 10


async def unlock(bucket: KeyValue, secret: Secret, previous: Secret | None = None) -> Keyring:
    """Returns the keyring of *bucket*, and creates the KEK at the first start.

    If only *previous* matches the bucket, the KEK of *secret* becomes the successor. Raises Unusable if none matches.
    """
    for given in (secret, previous):
        if isinstance(given, Passphrase) and len(given.text) < MIN_PASSPHRASE_LENGTH:
            raise Unusable(f"the passphrase is shorter than {MIN_PASSPHRASE_LENGTH} characters: use a longer one")
    for _ in range(_MAX_CONFLICTS):
        try:
            return await _UnlockAttempt(bucket, secret, previous).run()
        except Conflict:  # another process changed the records
            await asyncio.sleep(0.05)
    raise Unusable(f"the key-encryption key records of {bucket.bucket} keep changing: stop all other writers")


class _UnlockAttempt:
    """One attempt. Raises Conflict when a record changed since it was read."""

    def __init__(self, bucket: KeyValue, secret: Secret, previous: Secret | None) -> None:
        self._bucket = bucket
        self._secret = secret
        self._previous = previous

    async def run(self) -> Keyring:
        if await self._bucket.get(kek_records.ANY) is None:
            return await self._create_first_kek()
        records = await kek_records.read_records(self._bucket)
        current = await _matching_kek(records, self._secret)
        predecessor = await _matching_kek(records, self._previous) if self._previous is not None else None
        if current is None and predecessor is None:
            raise Unusable(self._mismatch(records))
        if current is None and predecessor is not None:
            return await self._record_successor(records, predecessor)
        assert current is not None
        await self._require_current(records[current.kek_id], current)
        others = {kek_id: record for kek_id, record in records.items() if kek_id != current.kek_id}
        if predecessor is not None and predecessor.kek_id in others:
            if not kek_records.is_endorsed(others[predecessor.kek_id], predecessor):
                raise Unusable(f"{self._bucket.bucket}/kek.{predecessor.kek_id} was altered: restore it")
            return Keyring(current, predecessor)
        if others:
            await self._retire(others)
        return Keyring(current)

    async def _create_first_kek(self) -> Keyring:
        if await self._bucket.get("key.*") is not None:
            name = self._bucket.bucket
            raise Unusable(f"{name} holds keys but no record of their key-encryption key: restore the bucket")
        facts, kek = await asyncio.to_thread(kek_records.create_kek, self._secret)
        # Unique over all ids: of processes that start at once with different secrets, one must win.
        await kek_records.put_record(self._bucket, facts, unique=kek_records.ANY)
        return Keyring(kek)

    async def _record_successor(self, records: dict[str, KekRecord], predecessor: KeyEncryptionKey) -> Keyring:
        """Records the successor of the current KEK, which only a holder of that KEK can do."""
        last = records[predecessor.kek_id]
        if last.facts.successor is not None or len(records) > 1:
            raise Unusable(
                f"{self._bucket.bucket} is being rewrapped under a secret other than this {_kind_of(self._secret)}: "
                "finish that change first, with the secret that it was begun with"
            )
        facts, kek = await asyncio.to_thread(kek_records.create_kek, self._secret)
        await kek_records.record_successor(self._bucket, last, predecessor, facts)
        return Keyring(kek, predecessor)

    async def _require_current(self, record: KekRecord, kek: KeyEncryptionKey) -> None:
        """Raises Unusable if the KEK of *record* has a successor. Writes *record* if a crash prevented that."""
        if record.facts.successor is not None:
            if not kek_records.is_endorsed(record, kek):
                raise Unusable(f"{self._bucket.bucket}/{record.key} was altered: restore it")
            raise Unusable(
                f"the {_kind_of(self._secret)} was replaced: start with the new secret, and this one as the previous"
            )
        if not record.revision:
            await kek_records.put_record(self._bucket, record.facts)

    async def _retire(self, others: dict[str, KekRecord]) -> None:
        """Completes a change of secrets whose entries are all rewrapped. Raises Unusable if some are not."""
        remaining, total = await kek_records.retire(self._bucket, others)
        if not remaining:
            return
        entries = f"{remaining} of {total} entries in {self._bucket.bucket} are still sealed under the previous secret"
        if self._previous is None:
            raise Unusable(f"{entries}: set that secret too, as KEY_PREVIOUS_PASSPHRASE_FILE or KEY_PREVIOUS_KEK_FILE")
        raise Unusable(f"{entries}, and the previous {_kind_of(self._previous)} is a different one")

    def _mismatch(self, records: dict[str, KekRecord]) -> str:
        name, kind = self._bucket.bucket, _kind_of(self._secret)
        if self._previous is not None:
            previous = _kind_of(self._previous)
            return f"neither the {kind} nor the previous {previous} is the one that {name} was sealed with"
        kinds = {type(record.facts) for record in records.values()}
        if kinds == {PassphraseKek} and isinstance(self._secret, KeyFile):
            return f"{name} was sealed with a passphrase, not with a key file: give the passphrase"
        if kinds == {KeyFileKek} and isinstance(self._secret, Passphrase):
            return f"{name} was sealed with a key file, not with a passphrase: give the key file"
        return f"the {kind} is not the one that {name} was sealed with"


async def _matching_kek(records: dict[str, KekRecord], secret: Secret) -> KeyEncryptionKey | None:
    """Returns the KEK of *secret*, if one of the records describes it."""
    for record in records.values():
        match record.facts, secret:
            case PassphraseKek() as facts, Passphrase():
                key = await asyncio.to_thread(facts.derive, secret)
            case KeyFileKek(), KeyFile():
                key = secret.key
            case _:
                continue
        kek = KeyEncryptionKey(record.facts.kek_id, key)
        if record.facts.proves(kek):
            return kek
    return None


def _kind_of(secret: Secret) -> str:
    return "passphrase" if isinstance(secret, Passphrase) else "key file"
