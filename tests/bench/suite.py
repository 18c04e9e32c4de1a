"""The suite as `make up` runs it, with a fleet of virtual devices plugged in, for as long as a benchmark takes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.settings import LocalSuite
from deploy.supervisor import Supervisor
from tests.support.nats import free_port

DEVICES, FIRST_SERIAL = 128, 42_000_000


async def bootstrap(client) -> str:
    done = asyncio.get_running_loop().create_future()

    async def completed(message) -> None:
        done.set_result(json.loads(message.data)["intermediate_certificate_id"])

    subscription = await client.subscribe("keys.events.saga.pki-bootstrap.completed.*", cb=completed)
    authority = {"algorithm": "ec-p256", "validity_days": 3650}
    body = {
        "organization": "Bench",
        "root": {"common_name": "Root", **authority},
        "intermediate": {"common_name": "Intermediate", **authority},
    }
    await client.jetstream().publish("keys.commands.saga.pki-bootstrap.start", json.dumps(body).encode())
    issuer = await asyncio.wait_for(done, 30)
    await subscription.unsubscribe()
    return issuer


@asynccontextmanager
async def suite_up(coordinator: list[str] | None, sync_interval: str | None = None):
    """The URL of a running suite."""
    async with running_suite(coordinator, sync_interval) as suite:
        yield suite.url


@asynccontextmanager
async def running_suite(
    coordinator: list[str] | None,
    sync_interval: str | None = None,
    told: dict[str, str] | None = None,
    **more: Any,
):
    """The suite as `make up` runs it; *coordinator*: what runs in the saga service's place; *sync_interval*: what the
    server is told, in place of its default; *told*: what the services are told beside; *more*: fields of LocalSuite."""

    class Suite(LocalSuite):
        def command(self, name: str) -> list[str]:
            if name == "saga" and coordinator:
                return [sys.executable, *coordinator]
            if name == "nats" and sync_interval:
                config = self.state / "nats.conf"
                config.write_text(
                    f'jetstream {{ store_dir: "{self.state / "nats"}", sync_interval: {sync_interval} }}\n'
                )
                server, *_ = super().command(name)
                return [server, "-c", str(config), "-a", "127.0.0.1", "-p", str(self.port)]
            return super().command(name)

        def environment(self, name: str) -> dict[str, str]:
            return {**super().environment(name), **(told or {})}

    with tempfile.TemporaryDirectory() as state:
        serials = ",".join(str(FIRST_SERIAL + number) for number in range(DEVICES))
        suite = Suite(state=Path(state), port=free_port(), http_port=free_port(), virtual_yubikeys=serials, **more)
        supervisor = Supervisor(suite)
        try:
            await supervisor.start()
            yield suite
        finally:
            await supervisor.stop()


class process:  # noqa: N801 - reads as what it is in a with statement
    """A module of the benchmark as a process of its own, ended by SIGKILL."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, env=self._environment)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
