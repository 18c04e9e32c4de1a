"""The whole suite where each process may do only what the catalog allows it: it lacks nothing."""

import asyncio
import os
import signal
import ssl
import sys
from dataclasses import replace

import nats.errors
import pytest
import pytest_asyncio

from deploy.nats_tls import issue
from deploy.nats_users import seed_file, write_users
from shared.nats.connection import Access
from tests.support.suite import suite_up
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(tmp_path_factory):
    async with suite_up(tmp_path_factory.mktemp("secured") / "state", [42000001], secured=True) as suite:
        await suite.bootstrap()
        yield suite


async def test_a_certificate_comes_onto_a_yubikey_and_another_is_undone(suite):
    done = await suite.end_of(await suite.provision())
    undone = await suite.end_of(await suite.provision(doomed=True, slot="9c", purpose="digital-signature"))

    assert (done.tokens[4], undone.tokens[4]) == ("completed", "compensated"), (done.body, undone.body)


async def test_crls_verification_and_refusals_go_through(suite):
    published = await suite.end_of(await suite.start_saga("crl-publication", issuer_id=suite.issuer_id))
    verified = await suite.ask("certificate.verify", {"certificate_pem": suite.chain[1]})
    refused = await suite.ask("key.generate", {"algorithm": "rot13"})

    assert published.tokens[4] == "completed", published.body
    assert verified.subject.startswith("keys.events.certificate.verified."), verified.body
    assert refused.subject.startswith("keys.events.command.rejected.")


async def test_the_console_is_let_in_as_an_operator_and_as_nobody_it_is_not(suite):
    key = seed_file(suite.local.users, "operator")
    listed = await console(suite, "sagas", "list", NATS_NKEY=str(key))
    sent = await console(suite, "send", "key.generate", "--algorithm", "ec-p256", NATS_NKEY=str(key))
    forbidden = await console(suite, "send", "key.sign-batch", "--key_id", "x", NATS_NKEY=str(key))
    nobody = await console(suite, "sagas", "list")

    assert "pki-bootstrap" in listed[1], listed
    assert sent[0] == 0, sent
    assert forbidden[0] != 0
    assert nobody[0] != 0
    assert "no connection" in nobody[1]  # whether it reads the refusal or only that it was hung up on, is a race


async def test_who_operates_it_comes_as_who_may(suite, tmp_path):
    def seed(role):
        return str(seed_file(suite.local.users, role))

    await suite.end_of(await suite.provision(slot="9d", purpose="key-management"))
    for status, output in [
        await said(suite, "services.saga", "rebuild", "--check", NATS_NKEY=seed("saga")),
        await said(suite, "deploy.backup", "save", str(tmp_path / "saved"), NATS_NKEY=seed("backup")),
        await said(suite, "deploy.upgrade", NATS_NKEY=seed("provisioner")),
        await said(suite, "deploy.rebuild_views", NATS_NKEY=seed("provisioner")),
    ]:
        assert status == 0, output


async def test_the_suite_s_own_authority_has_server_and_processes_know_each_other(suite, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    await issue(suite.client.jetstream(), directory, suite.issuer_id)
    state = tmp_path_factory.mktemp("over-tls") / "state"

    async with suite_up(state, [], secured=True, tls=directory) as private:
        generated = await private.ask("key.generate", {"algorithm": "ec-p256"})
        spoken = private.client._transport._io_writer.get_extra_info("ssl_object").version()  # noqa: SLF001 - nats-py tells nobody
        seed = Access(nkey=seed_file(private.local.users, "operator"))
        trusting = replace(
            private.local.access("operator"), tls=ssl.create_default_context(cafile=directory / "ca.pem")
        )

        assert generated.subject.startswith("keys.events.key.generated.")
        assert spoken == "TLSv1.3"
        for incomplete in (seed, trusting, replace(private.local.access("operator"), tls=strangers(directory))):
            with pytest.raises((nats.errors.Error, OSError, ValueError)):
                await incomplete.connect(private.local.url, "operator", allow_reconnect=False, error_cb=quiet)

        earlier = replace(private.local.access("auditor"), nkey=another_seed_for(private, "auditor", tmp_path_factory))
        os.kill(private.pid("nats"), signal.SIGHUP)
        await until(lambda: refused(private, earlier, "auditor"))
        assert not await refused(private, private.local.access("auditor"), "auditor")


def another_seed_for(suite, role, tmp_path_factory):
    """Rotates a seed by the steps of docs/operations.md; returns the earlier seed's path."""
    seed, earlier = seed_file(suite.local.users, role), tmp_path_factory.mktemp("earlier") / "seed"
    seed.rename(earlier)
    write_users(suite.local.users)
    return earlier


async def refused(suite, access, role):
    try:
        client = await access.connect(suite.local.url, role, allow_reconnect=False, error_cb=quiet)
        await client.close()
    except nats.errors.Error:
        return True
    return False


def strangers(directory):
    """One who has a certificate, and trusts somebody else's authority."""
    context = ssl.create_default_context()
    context.load_cert_chain(directory / "operator.pem", directory / "operator.key")
    return context


async def quiet(_):
    await asyncio.sleep(0)


async def test_nobody_was_refused_anything(suite):
    """A permission error would appear in the log of its process."""
    for name in ("key", "certificate", "yubikey", "saga", "repository"):
        assert "violation" not in suite.local.log(name).read_text().lower(), name


async def console(suite, *arguments, **environment):
    return await said(suite, "services.console", *arguments, **environment)


async def said(suite, module, *arguments, **environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env={**os.environ, "NATS_URL": suite.local.url, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
