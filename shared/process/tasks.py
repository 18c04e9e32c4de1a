"""Work that goes on beside the messages until a process stops: where it ends by an error, that is said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

log = logging.getLogger(__name__)


def start_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """*work* as a task under its own name."""
    task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
    task.add_done_callback(_say_what_ended)
    return task


def failed_tasks(tasks: Iterable[asyncio.Task[None]]) -> list[str]:
    """Which of *tasks* have ended by an error, each as a problem of its process."""
    return [f"{task.get_name()} has ended; the log says why" for task in tasks if _error_of(task) is not None]


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _say_what_ended(task: asyncio.Task[None]) -> None:
    if (error := _error_of(task)) is not None:
        log.error("%s has ended", task.get_name(), exc_info=error)
