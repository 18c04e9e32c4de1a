"""Rotation of the service's secret: device secrets are sealed again with it while commands are served (docs/adr/0019).

Only the sealing changes, and only over the revision that was read. A device that another process leases is skipped:
that process may have only the old secret, and could not read the document any more.
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

_RETRY_INTERVAL_S = 1.0
_SECRETS_KEYS = "*.secrets"
log = logging.getLogger(__name__)


async def require_readable(bucket: KeyValue, sealing: DocumentSealing) -> None:
    """Raises Unusable if no document opens: then this is not the fleet's secret. Logs those that do not open."""
    unreadable, readable = [], 0
    async for document in bucket.all(_SECRETS_KEYS):
        try:
            sealing.open(document.value, _serial(document))
        except InvalidTag:
            unreadable.append(_serial(document))
        else:
            readable += 1
    if unreadable and not readable:
        problem = (
            f"YUBIKEY_SECRET_FILE opens the stored secrets of none of the {len(unreadable)} YubiKeys in {bucket.bucket}"
        )
        raise Unusable(
            f"{problem}: start with the present secret, or give it as YUBIKEY_PREVIOUS_SECRET_FILE to change it"
        )
    if unreadable:
        log.error("no configured secret opens the stored secrets of YubiKey %s", ", ".join(unreadable))


async def reseal_documents(bucket: KeyValue, sealing: DocumentSealing, leases: Leases) -> None:
    """Seals every document with the current secret, and logs when none is left. Each process does its devices."""
    before = 0
    while True:
        try:
            if not (left := await _reseal_all(bucket, sealing, leases)):
                log.info("the previous secret can be removed: nothing in %s is sealed with it", bucket.bucket)
                return
            if left != before:
                log.info(
                    "the secrets of %d YubiKeys that other processes lease are still sealed with the previous secret",
                    left,
                )
            before = left
        except Exception as error:  # noqa: BLE001 - retried, while commands are served
            log.warning(
                "not everything in %s is sealed with the current secret yet: %s",
                bucket.bucket,
                error or type(error).__name__,
            )
        await asyncio.sleep(_RETRY_INTERVAL_S)


async def _reseal_all(bucket: KeyValue, sealing: DocumentSealing, leases: Leases) -> int:
    """Seals documents again. Returns the number left: another process leases the device, or has just written."""
    left = 0
    async for document in bucket.all(_SECRETS_KEYS):
        serial = _serial(document)
        try:
            content, is_current = sealing.open(document.value, serial)
        except InvalidTag:
            continue  # logged at the start: no secret opens it
        if is_current:
            continue
        if not await _may_reseal(leases, int(serial)):
            left += 1
            continue
        try:
            await bucket.put(document.key, sealing.seal(content, serial), document.revision)
        except Conflict:
            left += 1
    return left


async def _may_reseal(leases: Leases, serial: int) -> bool:
    if leases.holds(serial):
        return True
    lease, _ = await leases.read(serial)
    return lease is None or lease.is_expired(datetime.now(UTC))


def _serial(document: Document) -> str:
    return document.key.partition(".")[0]
