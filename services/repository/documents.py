"""The documents of KEYS_VIEWS, each read when it is asked for: what changed there is seen at once (ADR 0016)."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from nats.aio.client import Client

from services.repository.responses import Particulars
from shared.errors import Transient
from shared.messages.headers import NatsHeader
from shared.nats.direct_get import StoredMessage, get_last, get_last_of_each

_BUCKET = "KEYS_VIEWS"
_STREAM = f"KV_{_BUCKET}"
_KNOWN = 4096

Looked = Callable[[bytes], Particulars]


class Documents:
    """Raises Transient while there is no server that could tell."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._known: OrderedDict[tuple[str, int, datetime, int], Particulars] = OrderedDict()

    def connect(self, client: Client) -> None:
        self._client = client

    async def get(self, key: str) -> StoredMessage | None:
        return _unless_deleted(await get_last(self._connected(), _STREAM, f"$KV.{_BUCKET}.{key}"))

    async def under(self, pattern: str) -> list[StoredMessage]:
        found = await get_last_of_each(self._connected(), _STREAM, [f"$KV.{_BUCKET}.{pattern}"])
        return [each for each in found if _unless_deleted(each)]

    def particulars(self, stored: StoredMessage, look: Looked) -> Particulars:
        """What *look* finds in the document, looked for once a revision: to read a large CRL takes milliseconds."""
        revision = (stored.subject, stored.sequence, stored.at, len(stored.data))
        if (known := self._known.get(revision)) is None:
            known = self._known[revision] = look(stored.data)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return known

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise Transient("there is no connection to a nats-server")
        return self._client


def _unless_deleted(stored: StoredMessage | None) -> StoredMessage | None:
    return None if stored is None or NatsHeader.KV_OPERATION in stored.headers else stored
