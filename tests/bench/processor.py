"""Processor time by process: what this process has spent, and each that it started."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def spent() -> dict[str, float]:
    """Seconds (user and system) since each began; ours is called driver. Counted in ticks of 10 ms."""
    times = Counter({"driver": _seconds(os.getpid())})
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if _fields(int(directory.name))[1] == str(os.getpid()):
                times[_name(directory)] += _seconds(int(directory.name))
        except OSError:  # it has ended meanwhile
            continue
    return times


def since(before: dict[str, float]) -> dict[str, float]:
    return {name: seconds - before.get(name, 0.0) for name, seconds in spent().items()}


def below(pid: int) -> float:
    """Returns CPU time of the process's children, including those that have exited."""
    total = sum(int(ticks) for ticks in _fields(pid)[13:15]) / _TICK
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if _fields(int(directory.name))[1] == str(pid):
                total += _seconds(int(directory.name))
        except OSError:  # it has ended meanwhile
            continue
    return total


def _name(directory: Path) -> str:
    words = (directory / "cmdline").read_bytes().decode().split("\0")
    return words[2].removeprefix("services.") if "-m" in words[1:2] else Path(words[0]).name


def _seconds(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICK


def _fields(pid: int) -> list[str]:
    """proc(5), from the state on: the name before it may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
