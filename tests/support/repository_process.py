"""The repository in a process of its own, and curl as a relying party."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.nats import free_port
from tests.support.processes import kill
from tests.support.waiting import until


@dataclass
class HttpResponse:
    """An HTTP response: status, headers by lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class RepositoryProcess:
    def __init__(self, nats_url, log):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "NATS_URL": nats_url, "HTTP_PORT": str(self.port)}
        self._log = log
        self.process = None

    async def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", "services.repository"], env=self._environment, stdout=log, stderr=log
            )
        await self.ready()

    async def ready(self):
        await until(self.is_ready, within=30)

    async def is_ready(self):
        try:
            return (await self.curl("/health/ready")).status == 200
        except ConnectionError:
            return False

    async def curl(self, path, *options):
        """Sends a request with curl. Raises ConnectionError without a response."""
        command = ["curl", "-sS", "-i", "--path-as-is", "--max-time", "20", *options, f"{self.url}{path}"]
        running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, problem = await running.communicate()
        if running.returncode:
            raise ConnectionError(problem.decode())
        head, _, body = output.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return HttpResponse(int(first.split()[1]), headers, body)

    def stop(self):
        """Sends SIGTERM and returns the exit status."""
        self.process.terminate()
        return self.process.wait(timeout=20)

    def kill(self):
        kill(self.process.pid)
        self.process.wait()

    @property
    def log_text(self):
        return self._log.read_text()


@asynccontextmanager
async def repository_up(nats_url, directory):
    repository = RepositoryProcess(nats_url, directory / "repository.log")
    try:
        await repository.start()
        yield repository
    finally:
        if repository.process.poll() is None:
            repository.stop()
