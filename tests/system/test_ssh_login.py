"""A login by SSH in which neither side knows the other's key: both only know the key of the authority.

Judge: OpenSSH's own server and client, on loopback. Where they are missing, this module is left out, by its name.
"""

import asyncio
import getpass
import os
import shutil
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.nats import free_port

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
pytestmark = [
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="this machine has no OpenSSH to be judge"),
    pytest.mark.asyncio(loop_scope="module"),
]
WHO = getpass.getuser()


async def run(*command, ok=True):
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await asyncio.wait_for(process.communicate(), 30))[0].decode(errors="replace")
    assert not ok or process.returncode == 0, said
    return process.returncode, said


async def key_pair(directory, name):
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name)
    return (directory / f"{name}.pub").read_text().strip()


async def certified(suite, directory, ca, name, **body):
    """A key of one's own, and its certificate beside it."""
    request = {"ca_key_id": ca, "public_key": await key_pair(directory, name), "validity_minutes": 10, **body}
    end = await suite.end_of(await suite.start_saga("ssh-certificate-issuance", **request))
    assert end.tokens[4] == "completed", end.body
    (directory / f"{name}-cert.pub").write_text(end.body["certificate"] + "\n")


async def authority(suite):
    """The id of a new authority's key, and its public key as OpenSSH writes it."""
    wish = {"algorithm": "ed25519", "purpose": "ssh-certificate-signing"}
    generated = await suite.ask("key.generate", wish)
    told = await suite.ask("key.export-public", {"key_id": generated.body["key_id"], "format": "ssh"})
    return generated.body["key_id"], told.body["public_key"]


@asynccontextmanager
async def serving(directory, trusted):
    port = free_port()
    (directory / "users").write_text(trusted + "\n")
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nHostCertificate {directory}/host-cert.pub\n"
        f"TrustedUserCAKeys {directory}/users\nAuthorizedKeysFile none\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUsePAM no\nPidFile none\nStrictModes no\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # noqa: PTH103 - its Debian build wants it, as root
    process = await asyncio.create_subprocess_exec(
        *(SSHD, "-D", "-E", directory / "sshd.log", "-f", directory / "sshd_config"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def login(directory, port, name, *, ok=True):
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "HostKeyAlias=build.acme.example")
    options += (f"UserKnownHostsFile={directory}/known", "GlobalKnownHostsFile=none")
    told = [word for option in options for word in ("-o", option)]
    where = ("-p", port, f"{WHO}@127.0.0.1")
    return await run("ssh", "-F", "none", *told, "-i", directory / name, *where, "echo", "in", ok=ok)


async def test_a_login_by_certificates_alone(suite, tmp_path):
    hosts, hosts_key = await authority(suite)
    users, users_key = await authority(suite)
    host = {"kind": "host", "key_identity": "build", "principals": ["build.acme.example"]}
    alice = {"kind": "user", "key_identity": "alice@acme.example", "principals": [WHO]}
    await certified(suite, tmp_path, hosts, "host", **host)
    await certified(suite, tmp_path, users, "alice", **alice)
    await certified(suite, tmp_path, users, "bob", **{**alice, "principals": ["somebody"]})
    await certified(suite, tmp_path, hosts, "eve", **alice)
    (tmp_path / "known").write_text(f"@cert-authority *.acme.example {hosts_key}\n")

    async with serving(tmp_path, users_key) as port:
        _, said = await login(tmp_path, port, "alice")
        assert said.strip().endswith("in"), said
        for stranger in ("bob", "eve"):  # another account's; another authority's
            status, said = await login(tmp_path, port, stranger, ok=False)
            assert status == 255, said
            assert "Permission denied" in said

    assert "alice@acme.example" in (tmp_path / "sshd.log").read_text()
