"""A real nats-server from the wheel, on a free port of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import nats.aio.client

from shared.nats.connection import ANONYMOUS, Access

C = TypeVar("C", bound=nats.aio.client.Client)
BINARY = Path(sys.executable).with_name("nats-server")


_PORTS = itertools.cycle(range(20_000 + os.getpid() % 100 * 100, 20_100 + os.getpid() % 100 * 100))
"""Ports below the ephemeral range: a hundred for each process that runs tests at the same time."""


def free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a cycle does not end")


class NatsServer:
    """One server and its storage; it can be killed and started again on the same port.

    *more*: other arguments of nats-server.
    """

    def __init__(self, store: Path, *more: str) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._store = store
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [str(BINARY), "-js", "-sd", str(self._store), "-a", "127.0.0.1", "-p", str(self.port), *self._more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@asynccontextmanager
async def nats_server(store: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(store)
    await server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def connected(
    url: str, access: Access = ANONYMOUS, role: str = "test", client_class: type[C] = nats.aio.client.Client
) -> AsyncIterator[C]:
    """Connects nats-py's own client, which is independent of the suite's, or one of *client_class*."""

    async def quiet(_: Exception) -> None: ...

    options = {"error_cb": quiet, "max_reconnect_attempts": -1, "reconnect_time_wait": 0.1}
    client = client_class()
    await access.connect_client(client, url, role, **options)
    try:
        yield client
    finally:
        await client.close()
