"""Documents of KEYS_VIEWS. Every request reads its document from NATS, so changes are visible at once (ADR 0016)."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final

from nats.aio.client import Client

from services.repository.responses import DocumentMetadata
from shared.errors import Transient
from shared.messages.headers import NatsHeader
from shared.nats.direct_get import StoredMessage, get_last, get_last_of_each

_BUCKET: Final = "KEYS_VIEWS"
_STREAM: Final = f"KV_{_BUCKET}"
_MAX_CACHED: Final = 4096

ParseMetadata = Callable[[bytes], DocumentMetadata]


class Documents:
    """Reader of the bucket. Its methods raise Transient while no server answers."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._metadata: OrderedDict[tuple[str, int, datetime, int], DocumentMetadata] = OrderedDict()

    def connect(self, client: Client) -> None:
        self._client = client

    async def get(self, key: str) -> StoredMessage | None:
        return _unless_deleted(await get_last(self._connection(), _STREAM, f"$KV.{_BUCKET}.{key}"))

    async def get_matching(self, pattern: str) -> list[StoredMessage]:
        found = await get_last_of_each(self._connection(), _STREAM, [f"$KV.{_BUCKET}.{pattern}"])
        return [stored for stored in found if _unless_deleted(stored)]

    def metadata(self, stored: StoredMessage, parse: ParseMetadata) -> DocumentMetadata:
        """Returns the metadata that *parse* extracts, cached by revision: parsing a large CRL takes milliseconds."""
        revision = (stored.subject, stored.sequence, stored.at, len(stored.data))
        if (cached := self._metadata.get(revision)) is None:
            cached = self._metadata[revision] = parse(stored.data)
            if len(self._metadata) > _MAX_CACHED:
                self._metadata.popitem(last=False)
        return cached

    def _connection(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise Transient("there is no connection to a nats-server")
        return self._client


def _unless_deleted(stored: StoredMessage | None) -> StoredMessage | None:
    return None if stored is None or NatsHeader.KV_OPERATION in stored.headers else stored
