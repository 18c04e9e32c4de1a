"""A minimal NATS client: the protocol on a socket, without a library."""

import asyncio
import json
from uuid import uuid4


class PlainSocket:
    def __init__(self, port):
        self._port = port

    async def publish(self, subject, body):
        """Publishes until JetStream acknowledges; repeats are deduplicated by their id."""
        message_id = uuid4().hex
        while True:
            try:
                async with asyncio.timeout(2):
                    return await self._publish(subject, json.dumps(body).encode(), message_id)
            except (OSError, TimeoutError, EOFError):
                await asyncio.sleep(0.2)

    async def _publish(self, subject, body, message_id):
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await reader.readline()  # INFO
            writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.plain.%s 1\r\n' % message_id.encode())
            headers = f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode()
            sizes = f"{len(headers)} {len(headers) + len(body)}"
            writer.write(f"HPUB {subject} _INBOX.plain.{message_id} {sizes}\r\n".encode() + headers + body + b"\r\n")
            while not (line := await reader.readline()).startswith(b"MSG"):
                if not line or line.startswith(b"-ERR"):
                    raise EOFError
            stored = json.loads(await reader.readexactly(int(line.split()[-1])))
            assert "seq" in stored, stored
        finally:
            writer.close()
