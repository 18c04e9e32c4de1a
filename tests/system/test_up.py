"""`make up`: its output and files, the failures it survives, and its shutdown."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from deploy.settings import LocalSuite, http_port_beside
from tests.support.nats import connected, free_port
from tests.support.processes import is_alive, kill, pids_of
from tests.support.suite import Suite
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
NAMES = ["nats", "key", "certificate", "yubikey", "saga", "repository"]
MAKE, PYTHON = ["make", "up"], [sys.executable, "-m", "deploy.up"]


class Up:
    """One run of `make up` (or of what it runs)."""

    def __init__(self, state, *, port=None, http_port=None, serials="42000001", command=MAKE):
        self.port, self.http_port, self.state = port or free_port(), http_port or free_port(), state
        self.suite = LocalSuite(state, self.port, self.http_port, serials)
        settings = {"STATE_DIR": str(state), "VIRTUAL_YUBIKEYS": serials}
        settings |= {"NATS_PORT": str(self.port), "HTTP_PORT": str(self.http_port)}
        self._output = state.with_suffix(".out")
        with self._output.open("wb") as output, state.with_suffix(".err").open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **settings}, stdout=output, stderr=errors, start_new_session=True
            )

    @property
    def printed(self):
        return self._output.read_text()

    @property
    def complained(self):
        return self.state.with_suffix(".err").read_text()

    async def ready(self):
        await until(lambda: "\n" in self.printed or self.process.poll() is not None, within=60)
        assert self.printed == f"ready nats://127.0.0.1:{self.port}\n", self.complained

    async def ended(self):
        await until(lambda: self.process.poll() is not None, within=30)
        return self.process.returncode

    def pids(self):
        return pids_of(self.state)

    @asynccontextmanager
    async def used(self):
        async with connected(self.suite.url) as client:
            yield Suite(self.suite, client)

    async def kill_everything(self):
        """Kills all processes, like a power cut."""
        kill(pid := self.python())
        await until(lambda: not is_alive(pid))

    def python(self):
        """The process that make has started (or the one started here, if that is it)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next((int(pid) for pid in children if "deploy.up" in _command(pid)), self.process.pid)


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


async def found(run, path):
    """Returns the HTTP response once the view is written."""

    def fetched():
        try:
            with urlopen(f"{run.suite.public_url}{path}", timeout=5) as answer:  # noqa: S310 - our own server
                return answer.read()
        except HTTPError:
            return b""

    await until(lambda: asyncio.to_thread(fetched))
    return await asyncio.to_thread(fetched)


@asynccontextmanager
async def up(state, **settings):
    run = Up(state, **settings)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            kill(run.python(), signal.SIGTERM)
            await run.ended()


async def test_it_prints_one_line_when_it_serves_and_tells_the_process_ids(tmp_path):
    async with up(tmp_path / "state") as run:
        await run.ready()

        lines = (run.state / "pids").read_text().splitlines()
        assert [line.split()[0] for line in lines] == NAMES
        assert all(re.fullmatch(r"[a-z]+ [1-9][0-9]*", line) for line in lines)
        assert all(is_alive(pid) for pid in run.pids().values())
        for name in NAMES[1:]:
            assert f"services.{name}" in _command(run.pids()[name])
        async with run.used() as suite:
            await suite.bootstrap()
            assert (await suite.end_of(await suite.provision())).tokens[4] == "completed"
            assert b'"status":"issued"' in await found(run, f"/certificate/{suite.issuer_id}")
            assert b"-----BEGIN" not in await found(run, f"/ca/{suite.issuer_id}.cer")
    assert run.printed == f"ready nats://127.0.0.1:{run.port}\n"


async def test_a_killed_process_is_started_again_with_a_new_id_in_the_file(tmp_path):
    async with up(tmp_path / "state", serials="42000001,42000002,42000003") as run:
        await run.ready()
        async with run.used() as suite:
            await suite.bootstrap()
            for name in NAMES:
                before = run.pids()
                kill(before[name])
                await until(lambda: run.pids()[name] != before[name])  # noqa: B023 - it is done with before the next

                assert list(run.pids()) == NAMES
                assert {other for other in NAMES if run.pids()[other] != before[other]} == {name}
            for serial in ("42000001", "42000002", "42000003"):
                assert (await suite.end_of(await suite.provision(yubikey_serial=serial))).tokens[4] == "completed"


async def test_what_was_done_and_what_was_in_flight_survives_the_death_of_everything(tmp_path):
    state = tmp_path / "state"
    async with up(state) as first:
        await first.ready()
        async with first.used() as suite:
            await suite.bootstrap()
            done = await suite.end_of(await suite.provision())
            os.kill(first.pids()["yubikey"], signal.SIGSTOP)
            in_flight = await suite.provision(purpose="digital-signature", key_origin="imported")
            await suite.last_event(f"keys.events.saga.*.step.attach-signature.{in_flight}")
            issuer_id, pids = suite.issuer_id, first.pids()
        await first.kill_everything()
        await until(lambda: not any(is_alive(pid) for pid in pids.values()))

    async with up(state) as second:
        await second.ready()
        async with second.used() as suite:
            suite.issuer_id = issuer_id
            assert (await suite.end_of(in_flight)).tokens[4] == "completed"
            seen = await suite.sees_in_slot("42000001", "9a")
            assert seen.body["fingerprint_sha256"] == done.body["fingerprint_sha256"]
            again = await suite.end_of(await suite.provision(purpose="key-management"))
            assert again.tokens[4] == "completed"


def to_make(run):
    run.process.send_signal(signal.SIGTERM)


def to_python(run):
    kill(run.python(), signal.SIGTERM)


def to_the_group(run):
    os.killpg(run.process.pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("command", "tell"), [(MAKE, to_make), (MAKE, to_python), (MAKE, to_the_group), (PYTHON, to_python)]
)
async def test_told_to_stop_it_stops_everything_and_leaves_no_process(tmp_path, command, tell):
    async with up(tmp_path / "state", command=command) as run:
        await run.ready()
        pids = [run.python(), *run.pids().values()]

        tell(run)

        status = await run.ended()
        await until(lambda: not any(is_alive(pid) for pid in pids))
        assert not (run.state / "pids").exists()
        assert "Traceback" not in run.complained
        if command == PYTHON:
            assert (status, run.complained) == (0, "")


async def test_told_to_stop_before_it_serves_it_leaves_no_process_either(tmp_path):
    async with up(tmp_path / "state", command=PYTHON) as run:
        await until(lambda: (run.state / "pids").exists() and "key" in run.pids())
        pids = run.pids().values()

        to_python(run)

        assert await run.ended() == 0
        assert not any(is_alive(pid) for pid in pids)


async def test_a_port_in_use_is_said_in_one_line_and_nothing_is_started(tmp_path, server):
    async with up(tmp_path / "state", port=server.port, command=PYTHON) as run:
        assert await run.ended() == 1
        assert run.complained == f"port {server.port} is in use; choose another with NATS_PORT\n"
        assert run.printed == ""
        assert not (run.state / "pids").exists()


async def test_an_http_port_in_use_is_said_in_one_line_and_nothing_is_started(tmp_path, server):
    async with up(tmp_path / "state", http_port=server.port, command=PYTHON) as run:
        assert await run.ended() == 1
        assert run.complained == f"port {server.port} is in use; choose another with HTTP_PORT\n"
        assert not (run.state / "pids").exists()


def test_suites_on_ports_of_their_own_serve_http_on_ports_of_their_own():
    assert http_port_beside(4222) == 8080
    assert http_port_beside(20_000) != http_port_beside(20_001)
    assert all(0 < http_port_beside(port) <= 65_535 for port in range(1, 65_536))
    assert all(http_port_beside(port) != port for port in range(1, 65_536))


async def test_make_fails_too_when_the_port_is_in_use(tmp_path, server):
    async with up(tmp_path / "state", port=server.port) as run:
        assert await run.ended() != 0
        assert run.complained.startswith(f"port {server.port} is in use")


@pytest.mark.parametrize("setting", ["NATS_PORT", "HTTP_PORT"])
@pytest.mark.parametrize("port", ["nats", "70000"])
async def test_a_port_that_is_none_is_said_in_one_line(tmp_path, setting, port):
    environment = {**os.environ, setting: port, "STATE_DIR": str(tmp_path / "state")}
    started = subprocess.run(  # noqa: ASYNC221 - nothing else runs here meanwhile
        PYTHON, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert started.returncode == 78
    assert started.stderr == f"{setting} must be a port number, not {port!r}\n"


@pytest.mark.parametrize(("secured", "complaint"), [("1", "only one of NATS_SECURED"), ("0", "nats.conf is missing")])
async def test_why_it_cannot_run_in_operator_mode_is_said_in_one_line(tmp_path, secured, complaint):
    settings = {"NATS_OPERATOR": str(tmp_path), "NATS_SECURED": secured, "STATE_DIR": str(tmp_path / "state")}
    started = subprocess.run(  # noqa: ASYNC221 - nothing else runs here meanwhile
        PYTHON, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=30, check=False
    )

    assert started.returncode == 78
    assert complaint in started.stderr
    assert len(started.stderr.splitlines()) == 1


async def test_without_virtual_yubikeys_there_are_none(tmp_path):
    async with up(tmp_path / "state", serials="", command=PYTHON) as run:
        await run.ready()
        async with run.used() as suite:
            await suite.bootstrap()

            refused = await suite.sees_in_slot("42000001", "9a")
            end = await suite.end_of(await suite.provision())

            assert (refused.body["code"], refused.body["retryable"]) == ("unavailable", True)
            assert (end.tokens[4], end.body["reason"].split(":")[0]) == ("compensated", "unavailable")
