"""These tests need root, Debian packages and pyscard; where they are missing, `make test` says so in one line."""

import pytest

from tests.support.readers import missing


def pytest_collection_modifyitems(items):
    if (problem := missing()) is not None:
        for item in items:
            if "/pcsc/" in item.nodeid or item.nodeid.startswith("tests/pcsc"):
                item.add_marker(pytest.mark.skip(reason=problem))
