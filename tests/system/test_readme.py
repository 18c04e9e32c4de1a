"""The commands of the README run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
import pytest_asyncio

from tests.support.shell_blocks import MISSING, ROOT, Typist, blocks
from tests.support.suite import suite_up

README = ROOT / "README.md"
FIRST_CERTIFICATE = blocks(README, "Your first certificate")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in blocks(README)
    if block not in FIRST_CERTIFICATE
    for line in block.replace("\\\n", " ").splitlines()
]
CONSOLE = [command for command in COMMANDS if command.startswith(".venv/bin/cim-keys")]
PUBLISHED = [command for command in COMMANDS if command.startswith("nats pub")]


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(tmp_path_factory):
    async with suite_up(tmp_path_factory.mktemp("state"), [42000001]) as suite:
        yield suite


def test_the_readme_opens_with_the_two_commands():
    assert [command for command in COMMANDS if command.startswith("make")][:2] == ["make demo", "make test"]


def test_make_demo_does_the_main_job_and_leaves_the_chain():
    demo = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "saga.certificate-provisioning.completed" in demo.stdout
    assert "saga.certificate-provisioning.compensated" in demo.stdout
    for name in ("root", "intermediate", "leaf"):
        assert (ROOT / "demo-output" / f"{name}.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("command", PUBLISHED)
async def test_what_is_published_without_a_header_is_answered(suite, command):
    _, _, subject, body = shlex.split(command)
    inbox = await suite.client.subscribe("keys.events.>")
    await suite.client.publish(subject, body.encode())

    assert (await inbox.next_msg(timeout=20)).subject.startswith("keys.events.key.generated.")
    await inbox.unsubscribe()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("command", [command for command in CONSOLE if "watch" not in command])
async def test_what_is_typed_at_the_command_line_succeeds(suite, command):
    words = [sys.executable, "-m", "services.console", *shlex.split(command)[1:]]
    environment = {**os.environ, "NATS_URL": suite.local.url}
    typed = subprocess.run(  # noqa: ASYNC221 - nothing else runs here meanwhile
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert typed.returncode == 0, typed.stderr


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.skipif(bool(MISSING), reason=f"this machine has no {', no '.join(MISSING)} to type into")
async def test_the_first_certificate_is_issued_verified_and_revoked_as_the_readme_says(suite, tmp_path):
    await suite.bootstrap()
    typist = Typist(suite, tmp_path)

    said = [await typist.succeeds(block) for block in FIRST_CERTIFICATE]

    assert "www.pem: OK" in said[1]
    assert "Key Compromise" in said[-1]
