"""Requirements of these tests: root, Debian packages and pyscard. `make test` names what is missing in one line."""

import pytest

from tests.support.virtual_readers import missing


def pytest_collection_modifyitems(items):
    if (problem := missing()) is not None:
        for item in items:
            if "/pcsc/" in item.nodeid or item.nodeid.startswith("tests/pcsc"):
                item.add_marker(pytest.mark.skip(reason=problem))
