"""Waiting for what another task or process does: by looking, and not for ever."""

import asyncio
import inspect


async def until(condition, within=15):
    """Look every few milliseconds until *condition* (a function, or one that returns an awaitable) holds."""
    async with asyncio.timeout(within):
        while not await _value(condition):  # noqa: ASYNC110 - what is waited for can set no Event here
            await asyncio.sleep(0.005)


async def _value(condition):
    value = condition()
    return await value if inspect.isawaitable(value) else value
