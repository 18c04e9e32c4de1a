"""Message ids: version 7 UUIDs (RFC 9562), random at the start of a conversation and derived from then on."""

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """Generates the id of a message without a cause."""
    return uuid7()


def derive_id(cause: UUID, consequence: str) -> UUID:
    """Derives the id of a message from its cause, so that a redelivered cause has the same consequence.

    The first 48 bits are those of the cause, so ids sort by the start of their conversation. The other free bits are
    the first 74 of SHA-256(16 bytes of the cause, UTF-8 of the consequence's name). docs/contract.md, section 2.
    """
    return _compose(cause.int >> 80, cause.bytes + consequence.encode())


def id_from_stream_position(stream: str, sequence: int, stored_at: datetime) -> UUID:
    """Derives the id of a message without an id from its position in the stream."""
    return _compose(int(stored_at.timestamp() * 1000), f"{stream}/{sequence}".encode())


def timestamp_of(identity: UUID) -> datetime | None:
    """Timestamp of a version 7 id (milliseconds); None for any other kind of UUID, and after the year 9999."""
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
