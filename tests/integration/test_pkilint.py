"""The independent linter works in a process of its own, and in a new one when that dies."""

import os
import signal
from pathlib import Path

import pytest

from services.certificate.linting.pkilint import Pkilint
from shared.errors import Transient
from tests.support.by_hand import BEGIN, DAY, ROOT, leaf


@pytest.fixture(name="linter")
async def _linter():
    linter = Pkilint()
    yield linter
    await linter.end()


def _children():
    me = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for thread in me.iterdir() for pid in (thread / "children").read_text().split()}


async def test_it_finds_nothing_in_what_is_right(linter):
    assert await linter.problems(ROOT, None) == []
    assert await linter.problems(leaf(), ROOT) == []


async def test_it_says_what_is_wrong(linter):
    problems = await linter.problems(leaf(begin=BEGIN - DAY, without=("aki",)), ROOT)

    assert any("authority_key_identifier" in problem for problem in problems), problems


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
async def test_its_process_may_die(linter):
    before = _children()
    await linter.problems(ROOT, None)
    for pid in _children() - before:
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(Transient):
        await linter.problems(ROOT, None)
    assert await linter.problems(ROOT, None) == []
