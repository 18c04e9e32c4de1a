"""Operator mode by the commands of the documentation, and checks of authentication."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from contextlib import asynccontextmanager

import nats.errors

from deploy.nats_identities import Identities
from deploy.settings import LocalSuite
from shared.messages.ids import derive_id
from shared.nats.client import flush_subscriptions
from shared.nats.connection import Access
from tests.support.nats import BINARY, connected, free_port
from tests.support.operator_mode import Recipient
from tests.support.shell_blocks import ROOT, Typist, blocks
from tests.support.suite import Suite
from tests.support.waiting import until

BOOTSTRAP, MADE, MOVED, OPERATED, REMOVED = blocks(ROOT / "docs" / "security.md", "Operator mode")
(RENEWED,) = blocks(ROOT / "docs" / "operations.md", "Rotate every credential")
MAKE, SAVE = MADE.splitlines()
SERIALS = [str(serial) for serial in range(42000001, 42000009)]


@asynccontextmanager
async def typed_up(command, state, **more):
    """Runs the documented start command on free ports until the body ends."""
    local = LocalSuite(state, free_port(), free_port(), **more)
    settings = {"STATE_DIR": str(state), "NATS_PORT": str(local.port), "HTTP_PORT": str(local.http_port)}
    settings |= {"VIRTUAL_YUBIKEYS": ",".join(SERIALS)}
    words = shlex.split(command.replace(".state", str(state)))
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert await process.stdout.readline() == f"ready {local.url}\n".encode(), await process.stdout.read()
        async with connected(local.url, local.access("operator"), "operator") as client:
            yield Suite(local, client)
    finally:
        process.terminate()
        await process.communicate()
        await until(lambda: not local.pids.exists(), within=60)


async def typing(suite, directory):
    """Opens a shell in the directory of the suite's `.state`, with the commands of this working tree."""
    typist = Typist(suite, directory)
    (directory / ".state").symlink_to(suite.local.state)
    (directory / ".venv" / "bin" / "nats-server").symlink_to(BINARY)
    await typist.succeeds(f"export PYTHONPATH={ROOT}")
    return typist


def rerun(directory=".state/secrets/operator", more=""):
    """Returns the documented command for a server that is in operator mode already."""
    return (
        f"NATS_CREDS=.state/secrets/operator/operator.creds {MAKE.split()[1]} -m deploy.nats_creds {directory} {more}"
    )


async def lets_in(suite, path, role):
    """Returns true if the server accepts the credentials file and a flush."""
    try:
        client = await Access(credentials=path).connect(suite.local.url, role, allow_reconnect=False, error_cb=quiet)
    except nats.errors.Error:
        return False
    try:
        await flush_subscriptions(client)
        return client.is_connected
    finally:
        await client.close()


async def quiet(_):
    await asyncio.sleep(0)


def files(suite):
    return {path.name: path.read_text() for path in suite.local.operated.iterdir()}


def creds(suite, role):
    return suite.local.operated / f"{role}.creds"


async def issued_by_another(suite, saga, role, **more):
    """Starts the saga of a role's next user with the command's saga id and another recipient."""
    identities = await Identities.load_or_create(suite.client.jetstream())
    return await suite.start_saga(
        "nats-user-issuance",
        str(derive_id(identities.operator.saga_id, saga)),
        account_key_id=identities.operator.account_key_id,
        user=role,
        recipient_public_key=Recipient().public_key,
        **more,
    )
