"""Wraps every data key again under the current key-encryption key, while commands are served (docs/adr/0010)."""

from __future__ import annotations

import asyncio
import logging

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap

from services.key.secrets.kek_succession import Wrapping, retire, wrapping_of
from services.key.secrets.keyring import KeyEncryptionKey, Keyring
from shared.errors import Conflict
from shared.nats.kv import Document, KeyValue

_PAUSE = 1.0
log = logging.getLogger(__name__)


async def settle(bucket: KeyValue, keyring: Keyring, *, changing: bool) -> None:
    """Leave in *bucket* nothing but what is sealed under the current key; begun again, or by several, it ends the same.

    *changing*: a previous secret was given, so it is said when it can be taken away.
    """
    while True:
        try:
            await bucket.erase_overwritten()
            rewrapped = await _rewrap_all(bucket, keyring.current, keyring.previous) if keyring.previous else 0
            if not changing or await _finish(bucket, keyring, rewrapped):
                return
        except Exception as error:  # noqa: BLE001 - whatever went wrong: it is tried again, and commands are served
            log.warning("what KEYS_SECRETS holds is not all under one key yet: %s", error or type(error).__name__)
        await asyncio.sleep(_PAUSE)


async def _rewrap_all(bucket: KeyValue, current: KeyEncryptionKey, previous: KeyEncryptionKey) -> int:
    """How many were wrapped again. Conflicts are left to the next pass: somebody else did it, or destroyed the key."""
    rewrapped = 0
    async for document in bucket.all():
        wrapping = wrapping_of(document)
        if wrapping is None or wrapping.kek_id != previous.kek_id:
            continue
        try:
            await _rewrap(bucket, document, wrapping, current, previous)
        except Conflict:
            continue
        except InvalidUnwrap:
            log.error("%s/%s was altered and cannot be wrapped again: restore it", bucket.bucket, document.key)  # noqa: TRY400 - the trace would say no more
        else:
            rewrapped += 1
    return rewrapped


async def _rewrap(
    bucket: KeyValue, document: Document, wrapping: Wrapping, current: KeyEncryptionKey, previous: KeyEncryptionKey
) -> None:
    data_key = previous.unwrap(wrapping.wrapped_data_key)
    anew = wrapping.model_copy(update={"kek_id": current.kek_id, "wrapped_data_key": current.wrap(data_key)})
    await bucket.replace(document, anew.model_dump_json().encode())


async def _finish(bucket: KeyValue, keyring: Keyring, rewrapped: int) -> bool:
    """Whether nothing is left under the previous key; then it is said so."""
    under, of_all = await retire(bucket, [keyring.previous.kek_id] if keyring.previous else [])
    if not under:
        log.info(
            "the previous secret can be taken away: all %d entries in %s are under key-encryption key %s (%d wrapped "
            "again just now)",
            of_all,
            bucket.bucket,
            keyring.kek_id,
            rewrapped,
        )
    return not under
