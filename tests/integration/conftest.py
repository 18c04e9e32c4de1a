"""Fixtures for tests of the coordinator on a server: fake services and the final log."""

import pytest

from deploy.settings import LocalSuite
from shared.nats.streams import declare
from tests.support.fake_services import FakeServices
from tests.support.suite import Suite


@pytest.fixture(name="services")
async def _services(client):
    """In the place of the services that the coordinator asks: toys that answer, or not, as a test wants it."""
    await declare(client)
    services = FakeServices(client)
    await services.listen()
    return services


@pytest.fixture(name="log")
def _log(server, client, tmp_path):
    return Suite(LocalSuite(tmp_path, server.port), client)
