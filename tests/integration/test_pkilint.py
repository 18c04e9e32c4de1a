"""The independent linter works in a process of its own, and in a new one when that dies."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from services.certificate.linting.pkilint import Pkilint
from shared.errors import Transient
from tests.support.certificate_variants import BEGIN, DAY, ROOT, leaf


@pytest.fixture(name="linter")
async def _linter():
    linter = Pkilint()
    yield linter
    await linter.close()


def _children():
    found = set()
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended since
            found |= {int(pid) for pid in (thread / "children").read_text().split()}
    return found


async def test_it_finds_nothing_in_what_is_right(linter):
    assert await linter.lint(ROOT, None) == []
    assert await linter.lint(leaf(), ROOT) == []


async def test_it_says_what_is_wrong(linter):
    lint = await linter.lint(leaf(begin=BEGIN - DAY, without=("aki",)), ROOT)

    assert any("authority_key_identifier" in problem for problem in lint), lint


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
async def test_its_process_may_die(linter):
    before = _children()
    await linter.lint(ROOT, None)
    for pid in _children() - before:
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(Transient):
        await linter.lint(ROOT, None)
    assert await linter.lint(ROOT, None) == []
