"""A server that admits only the roles of the catalog, and clients that record its permission errors."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy.nats_users import seed_file, write_users
from shared.messages.catalog import catalog
from shared.messages.permissions import PROVISIONER, roles
from shared.nats.client import flush_subscriptions
from shared.nats.connection import Access
from shared.nats.streams import declare_all
from tests.support.nats import NatsServer

_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


class RoleClient:
    """A client with a role's credentials."""

    def __init__(self, client, problems):
        self.client = client
        self._problems = problems

    async def violations(self):
        """Returns the permission violations so far: pairs of operation and subject, in lower case."""
        await flush_subscriptions(self.client)
        found = [_VIOLATION.search(problem) for problem in self._problems]
        return {(match[1].lower(), match[2].lower()) for match in found if match}


@asynccontextmanager
async def secured_server(directory: Path):
    """Yields the server, with every stream declared, and a client for each role."""
    server = NatsServer(directory / "jetstream", "-c", str(write_users(directory / "users")))
    await server.start()
    try:
        async with AsyncExitStack() as stack:
            clients_by_role = {}
            for role in roles(catalog()):
                clients_by_role[role] = await stack.enter_async_context(_as(server, directory / "users", role))
            await declare_all(clients_by_role[PROVISIONER].client)
            yield clients_by_role
    finally:
        server.stop()


@asynccontextmanager
async def _as(server, users, role):
    problems = []

    async def on_error(problem):
        problems.append(str(problem))

    client = await Access(nkey=seed_file(users, role)).connect(
        server.url, role, error_cb=on_error, allow_reconnect=False
    )
    try:
        yield RoleClient(client, problems)
    finally:
        await client.close()
