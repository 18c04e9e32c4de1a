"""Background tasks of a process: one that fails is logged, and reported as a problem."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

log = logging.getLogger(__name__)


def start_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Starts *work* as a task that has the name of its function."""
    task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
    task.add_done_callback(_log_failure)
    return task


def failed_tasks(tasks: Iterable[asyncio.Task[None]]) -> list[str]:
    """Describes each of *tasks* that has failed, as a problem of its process."""
    return [f"{task.get_name()} has ended; the log says why" for task in tasks if _error_of(task) is not None]


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _log_failure(task: asyncio.Task[None]) -> None:
    if (error := _error_of(task)) is not None:
        log.error("%s has ended", task.get_name(), exc_info=error)
