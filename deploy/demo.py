"""``make demo``: the main job from nothing, told as it happens, and checked by others' eyes at the end.

It uses the suite as anybody would: it starts it, and talks to it with the command line `cim-keys`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from deploy.settings import LocalSuite
from deploy.supervisor import NotStarted, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OUTPUT = Path("demo-output")
SERIAL = "42000001"
_TYPED = 80
CONSOLE = [sys.executable, "-m", "services.console"]


class DemoFailed(Exception):
    """Something did not go as it should; the message says what."""


async def demo() -> None:
    with tempfile.TemporaryDirectory(prefix="cim-keys-demo-") as state:
        suite = LocalSuite(state=Path(state), port=_free_port(), http_port=_free_port(), virtual_yubikeys=SERIAL)
        supervisor = Supervisor(suite)
        try:
            say("a nats-server and five services: key, certificate, yubikey, saga, repository")
            await supervisor.start()
            async with _conversation(suite):
                await _main_job(suite)
        finally:
            await supervisor.stop()


async def _main_job(suite: LocalSuite) -> None:
    say("1. a CA: a root, and an intermediate that issues")
    authority = await _send(
        suite,
        "saga.pki-bootstrap.start",
        {
            "organization": "Acme",
            "root": {"common_name": "Acme Root CA", "algorithm": "ec-p384", "validity_days": 7300},
            "intermediate": {"common_name": "Acme Issuing CA", "algorithm": "ec-p256", "validity_days": 1825},
        },
        ends="completed",
    )
    alice = {
        "issuer_id": authority["intermediate_certificate_id"],
        "subject": {"common_name": "Alice Example", "email": "alice@acme.example", "organization": "Acme"},
        "yubikey_serial": SERIAL,
        "validity_days": 365,
    }
    say("2. Alice's key, made on her YubiKey and attested by it, and her certificate, in slot 9a")
    on_device = {**alice, "purpose": "authentication", "key_origin": "on-device"}
    leaf = await _send(suite, "saga.certificate-provisioning.start", on_device, ends="completed")

    say("3. a decryption key that must survive the YubiKey: made by the key service, imported sealed, escrowed")
    imported = {**alice, "purpose": "key-management", "key_origin": "imported"}
    await _send(suite, "saga.certificate-provisioning.start", imported, ends="completed")

    say("4. one that fails half-way: its issuer's key is revoked, and that shows only when it is to sign")
    doomed = {**alice, "purpose": "digital-signature", "key_origin": "on-device", "validity_days": 20}
    doomed["issuer_id"] = await _issuer_without_a_key(suite, authority)
    await _send(suite, "saga.certificate-provisioning.start", doomed, ends="compensated")

    say("5. what is on the device, read back from it")
    await _check_the_device(suite, leaf)
    say("6. the chain, checked by others")
    _check_the_chain(authority, leaf)


async def _issuer_without_a_key(suite: LocalSuite, authority: dict[str, Any]) -> str:
    """A second intermediate, by the plain commands (what a saga does can be done by hand), and then its key revoked."""
    key = await _send(suite, "key.generate", {"algorithm": "ec-p256", "purpose": "certificate-signing"})
    created = await _send(
        suite,
        "certificate.create",
        {
            "profile": "intermediate",
            "subject": {"common_name": "Acme Doomed CA", "organization": "Acme"},
            "public_key_pem": key["public_key_pem"],
            "key_id": key["key_id"],
            "issuer_id": authority["root_certificate_id"],
            "validity_days": 30,
        },
    )
    signed = await _send(
        suite,
        "key.sign",
        {
            "key_id": created["signing_key_id"],
            "message": created["tbs"],
            "signature_algorithm": created["signature_algorithm"],
            "purpose": "certificate-signing",
        },
    )
    attach = {"certificate_id": created["certificate_id"], "signature": signed["signature"]}
    issuer = await _send(suite, "certificate.sign", attach)
    await _send(suite, "key.revoke", {"key_id": key["key_id"], "reason": "for the demo"})
    return str(issuer["certificate_id"])


async def _check_the_device(suite: LocalSuite, leaf: dict[str, Any]) -> None:
    where = {"serial": SERIAL, "slot": leaf["slot"], "fingerprint_sha256": leaf["fingerprint_sha256"]}
    found = await _send(suite, "yubikey.verify-slot", where)
    if found["certificate_pem"] != leaf["certificate_pem"]:
        raise DemoFailed("the device holds another certificate than was issued")
    print(f"slot {leaf['slot']} holds the certificate that was issued, and the key that it is about")
    undone = await _send(suite, "yubikey.verify-slot", {"serial": SERIAL, "slot": "9c"}, accept=(1,))
    if undone.get("code") != "conflict":
        raise DemoFailed("slot 9c is not empty, though its provisioning was undone")
    print("slot 9c is empty again")


def _check_the_chain(authority: dict[str, Any], leaf: dict[str, Any]) -> None:
    OUTPUT.mkdir(exist_ok=True)
    pems = {
        "root": authority["root_certificate_pem"],
        "intermediate": authority["intermediate_certificate_pem"],
        "leaf": leaf["certificate_pem"],
    }
    for name, pem in pems.items():
        (OUTPUT / f"{name}.pem").write_text(pem)
    root, intermediate, certificate = (x509.load_pem_x509_certificate(pem.encode()) for pem in pems.values())
    root.verify_directly_issued_by(root)
    intermediate.verify_directly_issued_by(root)
    certificate.verify_directly_issued_by(intermediate)
    print("cryptography: root → intermediate → leaf, each signed by the one before")
    if openssl := shutil.which("openssl"):
        files = ["-CAfile", "root.pem", "-untrusted", "intermediate.pem", "leaf.pem"]
        checked = subprocess.run(  # noqa: S603 - the openssl of this machine, on files just written
            [openssl, "verify", "-x509_strict", *files], cwd=OUTPUT, capture_output=True, text=True, check=False
        )
        print(f"openssl verify -x509_strict: {checked.stdout.strip() or checked.stderr.strip()}")
        if checked.returncode:
            raise DemoFailed("openssl does not accept the chain")
    print(f"left for you to look at: {', '.join(str(OUTPUT / f'{name}.pem') for name in pems)}")


async def _send(
    suite: LocalSuite, command: str, body: dict[str, Any], *, ends: str | None = None, accept: tuple[int, ...] = (0,)
) -> dict[str, Any]:
    """One `cim-keys send`; returns the outcome's body. *ends*: how the saga it starts must end."""
    if ends == "compensated":
        accept = (1,)
    print(f"cim-keys send {command} {' '.join(_flags(body))}", flush=True)
    process = await asyncio.create_subprocess_exec(
        *CONSOLE, "send", command, "--json", json.dumps(body), "--output", "json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(suite),
    )  # fmt: skip
    stdout, stderr = await process.communicate()
    if process.returncode not in accept:
        raise DemoFailed(f"{command}: {(stderr or stdout).decode().strip()}")
    await asyncio.sleep(0.15)  # let the conversation be printed before what comes next
    outcome: dict[str, Any] = json.loads(stdout)
    if ends == "compensated" and "undone" not in outcome:
        raise DemoFailed(f"{command} was to be undone, and ended so: {outcome}")
    return outcome


def _flags(body: dict[str, Any], within: str = "") -> list[str]:
    """The body as one would type it; what nobody would type (a PEM, bytes to sign) is left out."""
    flags = []
    for name, value in body.items():
        if isinstance(value, dict):
            flags += _flags(value, f"{within}{name}.")
        else:
            text = str(value)
            flags.append(f"--{within}{name} {shlex.quote(text) if len(text) < _TYPED else '…'}")
    return flags


@asynccontextmanager
async def _conversation(suite: LocalSuite) -> AsyncIterator[None]:
    """All that is said on the two streams, as it is said."""
    watching = await asyncio.create_subprocess_exec(
        *CONSOLE, "watch", stderr=subprocess.DEVNULL, env=_environment(suite)
    )
    await asyncio.sleep(0.8)
    try:
        yield
    finally:
        watching.terminate()
        await watching.wait()


def _environment(suite: LocalSuite) -> dict[str, str]:
    return {**os.environ, "NATS_URL": suite.url, "CIM_ACTOR": "demo"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(what: str) -> None:
    print(f"\n=== {what}", flush=True)


def main() -> None:
    try:
        asyncio.run(demo())
    except (DemoFailed, NotStarted) as error:
        sys.exit(f"the demo failed: {error}")


if __name__ == "__main__":
    main()
