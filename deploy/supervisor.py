"""Supervisor of a local suite: starts the server, then the services; restarts them; stops them in reverse order."""

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

_STOP_TIMEOUT_S = 20.0
_START_TIMEOUT_S = 60.0
_MIN_RESTART_DELAY_S, _MAX_RESTART_DELAY_S = 0.1, 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class NotStarted(Exception):
    """A suite that cannot start; the message names the reason in one line."""


class Supervisor:
    """The processes of one local suite."""

    def __init__(self, suite: LocalSuite) -> None:
        self._suite = suite
        self._running: dict[str, Process] = {}
        self._restarting: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Starts all processes and waits until they serve. Raises NotStarted."""
        self._suite.prepare()
        await _require_free(self._suite.http_port, "HTTP_PORT")
        if self._suite.servers is None:
            await _require_free(self._suite.port, "NATS_PORT")
            await self._launch("nats")
        if self._suite.is_limited or self._suite.servers is not None:
            await self._declare_streams()
        for name in SERVICES:
            await self._launch(name)
        await self._wait_until_serving()

    async def watch(self) -> None:
        """Waits for ever. Raises NotStarted if a service exits because it cannot run."""
        await asyncio.gather(*self._restarting.values())

    async def stop(self) -> None:
        """Stops the services, which finish or release in-flight messages, and then the server."""
        self._stopping = True
        await asyncio.gather(*(self._terminate(name) for name in SERVICES))
        await self._terminate("nats")
        self._suite.pids.unlink(missing_ok=True)

    async def _launch(self, name: str) -> None:
        await self._spawn(name)
        self._restarting[name] = asyncio.create_task(self._restart_forever(name))

    async def _restart_forever(self, name: str) -> None:
        delay = _MIN_RESTART_DELAY_S
        while True:
            started_at = asyncio.get_running_loop().time()
            status = await self._running[name].wait()
            if self._stopping:
                return
            if status == UNUSABLE:
                raise NotStarted(f"{name}: {self._last_log_line(name)}")
            uptime = asyncio.get_running_loop().time() - started_at
            delay = _MIN_RESTART_DELAY_S if uptime > _MAX_RESTART_DELAY_S else min(delay * 2, _MAX_RESTART_DELAY_S)
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
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops the others in order
                preexec_fn=_die_with_supervisor,
            )
        draft = self._suite.pids.with_suffix(".draft")
        draft.write_text("".join(f"{name} {process.pid}\n" for name, process in self._running.items()))
        draft.replace(self._suite.pids)

    async def _terminate(self, name: str) -> None:
        process = self._running.get(name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _declare_streams(self) -> None:
        async with asyncio.timeout(_START_TIMEOUT_S):
            client = await _connect_with_retries(self._suite)
            try:
                await declare_all(client, self._suite.replicas)
            except (Unusable, Transient) as error:
                raise NotStarted(f"nats: {error}") from error
            finally:
                await client.close()

    async def _wait_until_serving(self) -> None:
        """Waits until every durable consumer has a pull request and the repository reports ready."""
        async with asyncio.timeout(_START_TIMEOUT_S):
            client = await _connect_with_retries(self._suite)
            try:
                while not (await _have_pull_requests(client) and await _is_ready(self._suite.http_port)):
                    for task in self._restarting.values():
                        if task.done():
                            await task
                    await asyncio.sleep(0.05)
            finally:
                await client.close()

    def _last_log_line(self, name: str) -> str:
        lines = self._suite.log(name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it exited and logged nothing"


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


async def _connect_with_retries(suite: LocalSuite) -> Client:
    async def ignore(_: Exception) -> None: ...

    while True:
        try:
            return await suite.access(PROVISIONER).connect(
                suite.url, PROVISIONER, error_cb=ignore, allow_reconnect=False
            )
        except (OSError, nats.errors.Error):
            await asyncio.sleep(0.02)


async def _have_pull_requests(client: Client) -> bool:
    for durable in CONSUMERS:
        subject = f"$JS.API.CONSUMER.INFO.{catalog().consumers[durable].stream}.{durable}"
        try:
            info = json.loads((await client.request(subject, timeout=2)).data)
        except nats.errors.Error:
            return False
        if not info.get("num_waiting"):
            return False
    return True


def _die_with_supervisor() -> None:
    """Has the Linux kernel kill this process when the supervisor dies, even by SIGKILL."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
