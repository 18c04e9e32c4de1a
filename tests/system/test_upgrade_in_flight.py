"""A suite of version 0.2.0, stopped in the midst of its work, goes on as this version after `deploy.upgrade`."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.chaos.audit import audit
from tests.support.nats import connected, free_port, nats_server
from tests.support.processes import pids_of
from tests.support.suite import ENDS, LocalSuite, Suite, suite_up

ROOT = Path(__file__).parents[2]
BEFORE = "09150f692372"
"""The last commit of 0.2.0."""
SERIALS = [42000001, 42000002, 42000003]
SLOTS = ("authentication", "digital-signature", "key-management", "card-authentication")


@pytest.fixture(name="before", scope="module")
def _before(tmp_path_factory):
    """The files of version 0.2.0."""
    directory = tmp_path_factory.mktemp("before")
    try:
        archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no git, or no history down to {BEFORE}, which is the version to upgrade from")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return directory


@contextlib.asynccontextmanager
async def as_it_was(before, local):
    """The suite of *before* in the foreground, until it is stopped like any other: by SIGTERM."""
    settings = {
        "PYTHONPATH": str(before),
        "STATE_DIR": str(local.state),
        "NATS_PORT": str(local.port),
        "HTTP_PORT": str(local.http_port),
        "VIRTUAL_YUBIKEYS": local.virtual_yubikeys,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "deploy.up"),
        cwd=before,
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert (await process.stdout.readline()).startswith(b"ready")
        async with connected(local.url) as client:
            yield Suite(local, client)
    finally:
        process.terminate()
        while process.returncode is None:
            await asyncio.sleep(0.2)
            go_on(local)


def go_on(local):
    """Let a service that stands still hear that it is to stop."""
    with contextlib.suppress(OSError):
        for pid in pids_of(local.state).values():
            os.kill(pid, signal.SIGCONT)


async def in_the_midst(suite):
    """Sagas that are over, and sagas that all wait for the certificate service; what was wished for."""
    await suite.bootstrap()
    await suite.doomed_issuer()
    over = await begin(suite, SERIALS[:1])
    await asyncio.gather(*map(suite.end_of, over))
    os.kill(suite.pid("certificate"), signal.SIGSTOP)
    under_way = await begin(suite, SERIALS[1:])
    await asyncio.gather(*(suite.last_event(f"keys.events.saga.*.started.{saga_id}") for saga_id in under_way))
    return over, under_way


async def begin(suite, serials):
    """A provisioning for each slot of each device; of every device one that has to be undone."""
    begun = {}
    for serial in serials:
        for number, purpose in enumerate(SLOTS):
            wish = {"yubikey_serial": str(serial), "purpose": purpose, "doomed": number == 0}
            wish["key_origin"] = "imported" if number % 2 else "on-device"
            begun[await suite.provision(**wish)] = wish
    return begun


async def upgraded(local):
    """Returns which sagas are over."""
    async with nats_server(local.state / "nats") as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.upgrade"), cwd=ROOT, env={**os.environ, "NATS_URL": server.url}
        )
        assert await process.wait() == 0
        async with connected(server.url) as client:
            told = await Suite(local, client).events("keys.events.saga.>")
    return {event.body["saga_id"] for event in told if event.tokens[4] in ENDS}


async def test_what_was_under_way_ends_as_it_would_have_and_all_goes_on(before, tmp_path):
    local = LocalSuite(tmp_path / "state", free_port(), free_port(), ",".join(map(str, SERIALS)))
    async with as_it_was(before, local) as suite:
        over, under_way = await in_the_midst(suite)
    issuer_id, chain = suite.issuer_id, suite.chain

    ended = await upgraded(local)

    assert not ended & set(under_way), "nothing was in flight"

    async with suite_up(local.state, SERIALS, http_port=local.http_port) as suite:
        suite.issuer_id, suite.chain = issuer_id, chain
        await asyncio.gather(*map(suite.end_of, under_way))
        ends = await audit(suite, over | under_way)
        assert ends == {"completed": 9, "compensated": 3}

        cleared = await suite.ask("yubikey.clear-slot", {"serial": "42000001", "slot": "9d"})
        assert cleared.tokens[3] == "slot-cleared"
        again = await suite.end_of(await suite.provision(purpose="key-management"))
        assert again.tokens[4] == "completed", again.body
