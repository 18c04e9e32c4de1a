"""Rewraps all data keys under the current key-encryption key in the background (docs/adr/0010)."""

from __future__ import annotations

import asyncio
import logging

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap

from services.key.secrets.kek_records import Wrapping, retire, wrapping_of
from services.key.secrets.keyring import KeyEncryptionKey, Keyring
from shared.errors import Conflict
from shared.nats.kv import Document, KeyValue

_RETRY_DELAY_S = 1.0
log = logging.getLogger(__name__)


async def rewrap_until_done(
    bucket: KeyValue, keyring: Keyring, *, changing: bool, retry_delay_s: float = _RETRY_DELAY_S
) -> None:
    """Rewraps until every entry of *bucket* is under the current KEK. Idempotent, also for concurrent processes.

    *changing*: a previous secret is configured; log when it can be removed.
    """
    while True:
        try:
            await bucket.erase_overwritten()
            rewrapped = await _rewrap_all(bucket, keyring.current, keyring.previous) if keyring.previous else 0
            if not changing or await _finish(bucket, keyring, rewrapped):
                return
        except Exception as error:  # noqa: BLE001 - any failure is retried, and commands do not depend on this task
            log.warning("rewrapping KEYS_SECRETS failed and is retried: %s", error or type(error).__name__)
        await asyncio.sleep(retry_delay_s)


async def _rewrap_all(bucket: KeyValue, current: KeyEncryptionKey, previous: KeyEncryptionKey) -> int:
    """Does one pass and returns the number of rewrapped entries. After a Conflict another process was first."""
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
            log.error("%s/%s was altered and cannot be rewrapped: restore it", bucket.bucket, document.key)  # noqa: TRY400 - a traceback adds nothing
        else:
            rewrapped += 1
    return rewrapped


async def _rewrap(
    bucket: KeyValue, document: Document, wrapping: Wrapping, current: KeyEncryptionKey, previous: KeyEncryptionKey
) -> None:
    data_key = previous.unwrap(wrapping.wrapped_data_key)
    rewrapped = wrapping.model_copy(update={"kek_id": current.kek_id, "wrapped_data_key": current.wrap(data_key)})
    await bucket.replace(document, rewrapped.model_dump_json().encode())


async def _finish(bucket: KeyValue, keyring: Keyring, rewrapped: int) -> bool:
    """Retires the previous KEK; returns False while entries are sealed under it."""
    remaining, total = await retire(bucket, [keyring.previous.kek_id] if keyring.previous else [])
    if not remaining:
        log.info(
            "the previous secret can be removed: all %d entries in %s are under key-encryption key %s (%d rewrapped in "
            "this pass)",
            total,
            bucket.bucket,
            keyring.kek_id,
            rewrapped,
        )
    return not remaining
