"""A whole suite with a CA for each module, whose tests share it and use YubiKeys or slots of their own."""

import pytest_asyncio

from tests.support.suite import suite_up

SERIALS = list(range(42000001, 42000013))


@pytest_asyncio.fixture(name="suite", scope="module", loop_scope="module")
async def _suite(tmp_path_factory):
    async with suite_up(tmp_path_factory.mktemp("suite") / "state", SERIALS) as suite:
        await suite.bootstrap()
        yield suite
