"""Polling with a timeout for effects of other tasks and processes."""

import asyncio
import inspect


async def until(condition, within=15):
    """Polls *condition*, a function or coroutine function, every few milliseconds until it is true."""
    async with asyncio.timeout(within):
        while not await _value(condition):  # noqa: ASYNC110 - another process cannot set an Event
            await asyncio.sleep(0.005)


async def _value(condition):
    value = condition()
    return await value if inspect.isawaitable(value) else value
