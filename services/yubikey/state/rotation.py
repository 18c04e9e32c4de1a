"""Another secret of the service: devices' secrets are sealed anew with it, while commands are served (docs/adr/0019).

Only the sealing changes, and only over the revision that was read. So it is done for any device but one in the hands of
another process, which may have the old secret alone, and could not read it any more.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag

from services.yubikey.state.leases import Leases
from services.yubikey.state.sealing import DocumentSealing
from shared.errors import Conflict, Unusable
from shared.nats.kv import Document, KeyValue

_PAUSE = 1.0
_SECRETS = "*.secrets"
log = logging.getLogger(__name__)


async def require_ours(bucket: KeyValue, sealing: DocumentSealing) -> None:
    """Raises Unusable when no device's secrets open: then it is not this fleet's secret. Says which alone do not."""
    closed, opened = [], 0
    async for document in bucket.all(_SECRETS):
        try:
            sealing.open(document.value, _serial(document))
        except InvalidTag:
            closed.append(_serial(document))
        else:
            opened += 1
    if closed and not opened:
        problem = f"YUBIKEY_SECRET_FILE opens the secrets of none of the {len(closed)} YubiKeys in {bucket.bucket}"
        raise Unusable(f"{problem}: start with the secret so far, as YUBIKEY_PREVIOUS_SECRET_FILE if it is to change")
    if closed:
        log.error("the secrets of YubiKey %s open with no secret that was given", ", ".join(closed))


async def settle(bucket: KeyValue, sealing: DocumentSealing, leases: Leases) -> None:
    """Leave nothing sealed with the previous secret, and say when that is so; other processes do their part of it."""
    before = 0
    while True:
        try:
            if not (left := await _reseal_all(bucket, sealing, leases)):
                log.info("the previous secret can be taken away: nothing in %s is sealed with it", bucket.bucket)
                return
            if left != before:
                log.info("the secrets of %d YubiKeys, in other hands, are sealed with the previous secret", left)
            before = left
        except Exception as error:  # noqa: BLE001 - whatever went wrong: it is tried again, and commands are served
            log.warning("what %s holds is not all sealed anew yet: %s", bucket.bucket, error or type(error).__name__)
        await asyncio.sleep(_PAUSE)


async def _reseal_all(bucket: KeyValue, sealing: DocumentSealing, leases: Leases) -> int:
    """How many are left: another process has the device, or has just written."""
    left = 0
    async for document in bucket.all(_SECRETS):
        serial = _serial(document)
        try:
            content, is_current = sealing.open(document.value, serial)
        except InvalidTag:
            continue  # said at the start: no secret opens it
        if is_current:
            continue
        if not await _may_be_sealed(leases, int(serial)):
            left += 1
            continue
        try:
            await bucket.put(document.key, sealing.seal(content, serial), document.revision)
        except Conflict:
            left += 1
    return left


async def _may_be_sealed(leases: Leases, serial: int) -> bool:
    if leases.holds(serial):
        return True
    lease, _ = await leases.read(serial)
    return lease is None or lease.is_over(datetime.now(UTC))


def _serial(document: Document) -> str:
    return document.key.partition(".")[0]
