"""Keeps a local suite's processes running: the server first, the services after it; stopped in the opposite order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from asyncio.subprocess import Process

import nats.errors
from nats.aio.client import Client

from deploy.settings import CONSUMERS, SERVICES, LocalSuite
from shared.errors import Transient, Unusable
from shared.messages.catalog import catalog
from shared.messages.permissions import PROVISIONER
from shared.nats.streams import declare_all
from shared.process.host import UNUSABLE

_GRACE = 20.0
_SOONEST_RESTART, _LATEST_RESTART = 0.1, 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class NotStarted(Exception):
    """The suite cannot run as it is; the message says why, in one line."""


class Supervisor:
    def __init__(self, suite: LocalSuite) -> None:
        self._suite = suite
        self._running: dict[str, Process] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Start everything; returns when all of it serves. Raises NotStarted with the reason."""
        self._suite.prepare()
        await _require_free(self._suite.http_port, "HTTP_PORT")
        if self._suite.servers is None:
            await _require_free(self._suite.port, "NATS_PORT")
            await self._keep("nats")
        if self._suite.is_limited or self._suite.servers is not None:
            await self._declared()
        for name in SERVICES:
            await self._keep(name)
        await self._until_serving()

    async def watch(self) -> None:
        """Return only if a process cannot be kept running. Raises NotStarted."""
        await asyncio.gather(*self._keeping.values())

    async def stop(self) -> None:
        """Stop the services, which finish or hand back what they hold, and only then the server."""
        self._stopping = True
        await asyncio.gather(*(self._end(name) for name in SERVICES))
        await self._end("nats")
        self._suite.pids.unlink(missing_ok=True)

    async def _keep(self, name: str) -> None:
        await self._spawn(name)
        self._keeping[name] = asyncio.create_task(self._restart_forever(name))

    async def _restart_forever(self, name: str) -> None:
        delay = _SOONEST_RESTART
        while True:
            began = asyncio.get_running_loop().time()
            status = await self._running[name].wait()
            if self._stopping:
                return
            if status == UNUSABLE:
                raise NotStarted(f"{name}: {self._last_words(name)}")
            lived = asyncio.get_running_loop().time() - began
            delay = _SOONEST_RESTART if lived > _LATEST_RESTART else min(delay * 2, _LATEST_RESTART)
            await asyncio.sleep(delay)
            if self._stopping:
                return
            await self._spawn(name)

    async def _spawn(self, name: str) -> None:
        with self._suite.log(name).open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                *self._suite.command(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._suite.environment(name),
                start_new_session=True,  # Ctrl-C is for this process: it stops the others in order
                preexec_fn=_die_with_the_supervisor,
            )
        draft = self._suite.pids.with_suffix(".draft")
        draft.write_text("".join(f"{name} {process.pid}\n" for name, process in self._running.items()))
        draft.replace(self._suite.pids)

    async def _end(self, name: str) -> None:
        process = self._running.get(name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _declared(self) -> None:
        async with asyncio.timeout(60):
            client = await _patiently_connected(self._suite)
            try:
                await declare_all(client, self._suite.replicas)
            except (Unusable, Transient) as error:
                raise NotStarted(f"nats: {error}") from error
            finally:
                await client.close()

    async def _until_serving(self) -> None:
        """Wait until every durable consumer is waited on and a view can be read over HTTP: what a user would notice."""
        async with asyncio.timeout(60):
            client = await _patiently_connected(self._suite)
            try:
                while not (await _all_waited_on(client) and await _is_ready(self._suite.http_port)):
                    for task in self._keeping.values():
                        if task.done():
                            await task
                    await asyncio.sleep(0.05)
            finally:
                await client.close()

    def _last_words(self, name: str) -> str:
        lines = self._suite.log(name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"


async def _require_free(port: int, setting: str) -> None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    writer.close()
    raise NotStarted(f"port {port} is in use; choose another with {setting}")


async def _is_ready(http_port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
    except OSError:
        return False
    try:
        writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


async def _patiently_connected(suite: LocalSuite) -> Client:
    async def quiet(_: Exception) -> None: ...

    while True:
        try:
            return await suite.access(PROVISIONER).connect(
                suite.url, PROVISIONER, error_cb=quiet, allow_reconnect=False
            )
        except (OSError, nats.errors.Error):
            await asyncio.sleep(0.02)


async def _all_waited_on(client: Client) -> bool:
    for durable in CONSUMERS:
        subject = f"$JS.API.CONSUMER.INFO.{catalog().consumers[durable].stream}.{durable}"
        try:
            info = json.loads((await client.request(subject, timeout=2)).data)
        except nats.errors.Error:
            return False
        if not info.get("num_waiting"):
            return False
    return True


def _die_with_the_supervisor() -> None:
    """A supervisor that was killed cannot stop its processes: on Linux the kernel does."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
