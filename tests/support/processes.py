"""Processes of a suite by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def pids_of(state):
    """Returns process ids by name from STATE_DIR/pids."""
    return {name: int(pid) for name, pid in (line.split() for line in (state / "pids").read_text().splitlines())}


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_alive(pid):
    """Returns true if the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
