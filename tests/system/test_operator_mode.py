"""The migration of docs/security.md from a users' file to operator mode, and the suite afterwards."""

import asyncio
import os
import re
import signal
import stat

import nats.errors
import pytest
import pytest_asyncio

from deploy.declare import declare_streams
from shared.messages.catalog import catalog
from shared.messages.permissions import roles
from shared.nats.connection import Access
from tests.support.documented_operator_mode import (
    BOOTSTRAP,
    MAKE,
    MOVED,
    OPERATED,
    REMOVED,
    RENEWED,
    SAVE,
    SERIALS,
    creds,
    files,
    issued_by_another,
    lets_in,
    quiet,
    rerun,
    typed_up,
    typing,
)
from tests.support.nats import NatsServer, connected, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROCESSES = ("key", "certificate", "yubikey", "saga", "repository")


@pytest.fixture(name="state", scope="module")
def _state(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / ".state"


@pytest_asyncio.fixture(name="first", scope="module", loop_scope="module")
async def _first(state):
    """Returns the command's output against the suite that is then migrated."""
    async with typed_up(BOOTSTRAP, state, secured=True) as suite:
        typist = await typing(suite, state.parent / "before")
        said = await typist.succeeds(MAKE)
        await typist.succeeds(SAVE)
    port = free_port()
    await typist.succeeds(f"export NATS_URL=nats://127.0.0.1:{port}")
    await typist.succeeds(MOVED.replace("-a 127.0.0.1", f"-a 127.0.0.1 -p {port}"))
    return said


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(first, state):
    assert first
    async with typed_up(OPERATED, state, operated=state / "secrets" / "operator") as suite:
        typist = await typing(suite, state.parent / "moved")
        await typist.succeeds(REMOVED)
        await suite.bootstrap()
        yield suite


@pytest_asyncio.fixture(name="typist", scope="module", loop_scope="module")
async def _typist(suite, state):
    return await typing(suite, state.parent / "after")


async def test_a_certificate_comes_onto_a_yubikey_and_another_is_undone(suite):
    done = await suite.end_of(await suite.provision())
    undone = await suite.end_of(await suite.provision(doomed=True, slot="9c", purpose="digital-signature"))

    assert (done.tokens[4], undone.tokens[4]) == ("completed", "compensated"), (done.body, undone.body)


async def test_each_role_is_let_in_by_its_file_and_nobody_without_one(suite):
    for role in roles(catalog()):
        assert await lets_in(suite, creds(suite, role), role), role

    with pytest.raises(nats.errors.Error):
        await Access().connect(suite.local.url, "operator", allow_reconnect=False, error_cb=quiet)


async def test_a_server_of_one_s_own_includes_the_configuration_and_is_declared_by_the_provisioner(suite, tmp_path):
    conf = tmp_path / "own.conf"
    (tmp_path / "nats.conf").write_text(files(suite)["nats.conf"])
    conf.write_text("server_name: own\ninclude nats.conf\n")
    server = NatsServer(tmp_path / "store", "-c", str(conf))
    await server.start()
    try:
        await declare_streams(server.url, suite.local.access("provisioner"))
        async with connected(server.url, suite.local.access("operator"), "operator") as client:
            assert (await client.jetstream().publish("keys.commands.key.generate", b"{}")).stream == "KEYS_COMMANDS"
    finally:
        server.stop()


async def test_there_is_a_file_for_each_role_the_server_s_and_nothing_else(suite, first):
    named = {f"{role}.creds" for role in roles(catalog())}

    assert set(files(suite)) == named | {"nats.conf"}
    assert {stat.S_IMODE((suite.local.operated / name).stat().st_mode) for name in named} == {0o600}
    assert first.splitlines()[0].endswith(": created")
    assert re.findall(r"^(\w+): created$", first, re.MULTILINE) == list(roles(catalog()))


async def test_no_seed_is_in_the_log_or_in_what_the_server_is_told(suite):
    seeds = [
        re.search(r"^SU[A-Z2-7]{56}$", text, re.MULTILINE)[0] for name, text in files(suite).items() if ".creds" in name
    ]
    told = [str(event.body) for event in await suite.events()] + [files(suite)["nats.conf"]]

    assert len(set(seeds)) == len(roles(catalog()))
    assert not [seed for seed in seeds for text in told if seed in text]


async def test_run_again_it_says_that_all_stands_and_changes_nothing(suite, typist):
    before = files(suite)

    said = await typist.succeeds(rerun())

    assert [line.split(": ")[1] for line in said.splitlines()] == ["unchanged"] * (len(roles(catalog())) + 2)
    assert files(suite) == before


async def test_a_file_that_was_lost_is_written_again(suite, typist):
    before = files(suite)
    creds(suite, "auditor").unlink()

    said = await typist.succeeds(rerun())

    assert "auditor: unchanged; file rewritten" in said
    assert files(suite) == before


async def test_a_role_is_renewed_while_it_works_and_its_earlier_file_lets_nobody_in(suite, typist, tmp_path):
    old = tmp_path / "old.creds"
    old.write_text(creds(suite, "certificate").read_text())
    pid = suite.pid("certificate")
    working = asyncio.create_task(one_after_another(suite))

    said = await typist.succeeds(RENEWED)

    assert "certificate: created; earlier user revoked" in said
    assert "must reload it (SIGHUP)" in said
    await until(lambda: suite.pid("certificate") != pid)
    for _ in range(100):
        if not await lets_in(suite, old, "certificate"):
            break
        await asyncio.sleep(0.1)
    assert not await lets_in(suite, old, "certificate")
    assert await lets_in(suite, creds(suite, "certificate"), "certificate")
    assert await lets_in(suite, creds(suite, "key"), "key")
    ends = await working
    after = await suite.end_of(await suite.provision(slot="9d", purpose="key-management"))
    assert {end.tokens[4] for end in (*ends, after)} == {"completed"}, [end.body for end in (*ends, after)]


async def one_after_another(suite):
    purpose = {"slot": "9e", "purpose": "card-authentication"}
    started = []
    for serial in SERIALS:
        started.append(await suite.provision(yubikey_serial=serial, **purpose))
        await asyncio.sleep(1)
    return [await suite.end_of(saga_id) for saga_id in started]


async def test_a_process_whose_user_is_revoked_comes_again_by_its_new_file(suite, typist):
    await typist.succeeds(rerun(more="--role key"))
    pid = suite.pid("key")

    await typist.succeeds(RENEWED.splitlines()[-1])

    await until(lambda: suite.pid("key") != pid, within=30)
    assert (await suite.end_of(await suite.provision(yubikey_serial=SERIALS[1]))).tokens[4] == "completed"


async def test_a_renewal_that_broke_off_is_gone_on_with(suite, typist):
    """The saga had made the user; neither the file nor the server's configuration was written."""
    before = files(suite)
    await typist.succeeds(rerun(more="--role backup"))
    renewed = files(suite)
    for name in ("backup.creds", "nats.conf"):
        (suite.local.operated / name).write_text(before[name])

    said = await typist.succeeds(rerun())

    assert renewed["backup.creds"] != before["backup.creds"]
    assert "backup: unchanged; file rewritten" in said
    assert files(suite) == renewed


async def test_a_role_that_the_catalog_allows_other_things_than_its_jwt_is_named(suite, typist):
    """A user with the permissions of another release, like after an upgrade."""
    limited = {"subscribe_allow": ["keys.events.>"]}
    await suite.end_of(await issued_by_another(suite, "auditor/2", "auditor", permissions=limited))

    told, renewed = await typist.succeeds(rerun()), await typist.succeeds(rerun(more="--role auditor"))

    assert re.findall(r"renew it \(--role (\w+)\)", told) == ["auditor"]
    assert "auditor: created; earlier user revoked\n" in renewed
    assert await lets_in(suite, creds(suite, "auditor"), "auditor")


async def test_a_renewal_that_is_under_way_is_waited_for(suite, typist):
    os.kill(suite.pid("key"), signal.SIGSTOP)
    saga_id = await issued_by_another(suite, "repository/2", "repository")
    await suite.last_event(f"keys.events.saga.nats-user-issuance.started.{saga_id}")

    running = asyncio.create_task(typist.succeeds(rerun(more="--role repository")))
    while not [
        each for each in await suite.events("keys.events.command.rejected.*") if saga_id in each.body["message"]
    ]:
        assert not running.done()
    os.kill(suite.pid("key"), signal.SIGCONT)

    assert "repository: created; earlier user revoked" in await running
    assert await lets_in(suite, creds(suite, "repository"), "repository")


async def test_a_directory_of_another_suite_s_operator_is_left_alone(typist, state):
    other = state / "other"
    other.mkdir()
    (other / "nats.conf").write_text("operator: somebody")

    status, said = await typist.type(rerun(".state/other"))

    assert status != 0
    assert "belongs to another operator" in said
    assert [path.name for path in other.iterdir()] == ["nats.conf"]


async def test_nobody_was_refused_anything(suite):
    for name in PROCESSES:
        assert "violation" not in suite.local.log(name).read_text().lower(), name
