"""What nats-py must be guarded against: a message that it cannot decode ends its read loop, in silence and for good.

Anybody who may publish a command could so make the service that reads it deaf, and the message would do it again after
every reconnect. So what cannot be decoded is handed on as what can: the message is answered like any other bad one.
"""

from __future__ import annotations

from nats.aio.client import Client
from nats.aio.msg import Msg


def keep_reading(client: Client) -> None:
    """Have *client* survive a subject that is no UTF-8 and a header block that is none (nats-py 2.16)."""
    if "_build_message" in vars(client):
        return
    build, process = client._build_message, client._process_headers  # noqa: SLF001 - where nats-py decodes

    def build_message(sid: int, subject: bytes, reply: bytes, data: bytes, hdr: dict[str, str] | None) -> Msg:
        readable = subject.decode(errors="backslashreplace").encode()
        message: Msg = build(sid, readable, reply, data, hdr)
        return message

    async def process_headers(headers: bytes) -> dict[str, str] | None:
        try:
            return await process(headers)
        except (ValueError, IndexError):
            return None

    vars(client).update(_build_message=build_message, _process_headers=process_headers)
