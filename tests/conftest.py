"""Fixtures of every level: a server of one's own, a client on it."""

import pytest

from shared.nats.client import Client
from tests.support import manifests, prometheus
from tests.support.nats import connected, nats_server
from tests.support.virtual_readers import missing


def pytest_terminal_summary(terminalreporter):
    for problem in (missing(), prometheus.missing(), manifests.missing()):
        if problem is not None:
            terminalreporter.write_line(problem)


@pytest.fixture(name="server")
async def _server(tmp_path):
    async with nats_server(tmp_path / "jetstream") as server:
        yield server


@pytest.fixture(name="client")
async def _client(server):
    async with connected(server.url, client_class=Client) as client:
        yield client
