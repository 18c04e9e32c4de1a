"""Single-flight reads: concurrent callers share a request that started after they called."""

import asyncio

import pytest

from shared.store.single_flight import SingleFlight


class World:
    """Something that changes, and takes a while to be looked at; an answer is what was so when looking began."""

    def __init__(self):
        self.now = 0
        self.looks = 0
        self.gate = asyncio.Event()

    async def look(self, _):
        self.looks += 1
        seen = self.now
        await self.gate.wait()
        return seen


async def test_who_asks_alone_is_answered():
    world = World()
    world.gate.set()

    assert await SingleFlight(world.look).get("a") == 0
    assert await SingleFlight(world.look).get("a") == 0


async def test_those_who_ask_while_one_looks_share_the_next_look():
    world = World()
    latest = SingleFlight(world.look)
    first = asyncio.create_task(latest.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.now = 1
    later = [asyncio.create_task(latest.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    world.gate.set()

    assert await first == 0
    assert await asyncio.gather(*later) == [1] * 50
    assert world.looks == 2


async def test_the_answer_is_never_older_than_the_question():
    world = World()
    latest = SingleFlight(world.look)
    world.gate.set()

    async def ask():
        asked_at = world.now
        return asked_at, await latest.get("a")

    async def change():
        for _ in range(200):
            world.now += 1
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    for _ in range(100):
        answers = await asyncio.gather(*(ask() for _ in range(5)))
        assert all(answer >= asked_at for asked_at, answer in answers)
    await changing


async def test_different_things_are_looked_at_apart():
    world = World()
    latest = SingleFlight(world.look)
    asking = [asyncio.create_task(latest.get(key)) for key in "abc"]
    await asyncio.sleep(0)
    world.gate.set()

    await asyncio.gather(*asking)
    assert world.looks == 3


async def test_one_who_gives_up_does_not_take_it_from_the_others():
    world = World()
    latest = SingleFlight(world.look)
    impatient, patient = (asyncio.create_task(latest.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    world.gate.set()

    assert await patient == 0


async def test_a_look_that_fails_fails_for_those_who_asked_and_not_for_the_next():
    failures = [OSError("the world is not there")]

    async def look(_):
        if failures:
            raise failures.pop()
        return 7

    latest = SingleFlight(look)

    with pytest.raises(OSError, match="not there"):
        await latest.get("a")
    assert await latest.get("a") == 7
