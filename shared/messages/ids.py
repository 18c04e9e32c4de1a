"""Ids: version 7 UUIDs (RFC 9562), drawn for what begins here and derived for what something else caused."""

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """A fresh id for a message that nothing caused."""
    return uuid7()


def derive_id(cause: UUID, consequence: str) -> UUID:
    """The id of what *cause* leads to: the same cause told twice has the same consequence.

    The first 48 bits are the cause's own, so that ids still sort by when their conversation began; the other free
    bits are the first 74 of SHA-256(cause's 16 bytes, UTF-8 of the consequence's name): docs/contract.md, section 2.
    """
    return _compose(cause.int >> 80, cause.bytes + consequence.encode())


def id_from_stream_position(stream: str, sequence: int, stored_at: datetime) -> UUID:
    """The id of a message that came without one: derived from where the stream keeps it."""
    return _compose(int(stored_at.timestamp() * 1000), f"{stream}/{sequence}".encode())


def timestamp_of(identity: UUID) -> datetime | None:
    """When a version 7 id was drawn (milliseconds); None for any other kind of UUID, and past the year 9999."""
    if identity.version != 7:  # noqa: PLR2004 - RFC 9562, 5.7
        return None
    try:
        return datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _compose(milliseconds: int, seed: bytes) -> UUID:
    random = int.from_bytes(sha256(seed).digest()[:10]) >> 6  # 74 bits
    high, low = random >> 62, random & ((1 << 62) - 1)
    return UUID(int=((milliseconds & (1 << 48) - 1) << 80) | _VERSION_7 | high << 64 | _VARIANT | low)
