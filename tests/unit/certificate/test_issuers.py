"""Reads that are shared: never older than the question, and few however many ask."""

import asyncio

import pytest

from services.certificate.issuers import Freshly


class Log:
    """Answers a read with how many reads have begun, once it is let go."""

    def __init__(self):
        self.begun = 0
        self.gate = asyncio.Event()

    async def read(self, _):
        self.begun += 1
        answer = self.begun
        await self.gate.wait()
        return answer


async def test_who_asks_while_a_read_is_under_way_shares_the_next_one():
    log = Log()
    fresh = Freshly(log.read)
    first = asyncio.create_task(fresh("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log.begun == 1

    later = [asyncio.create_task(fresh("a")) for _ in range(9)]
    await asyncio.sleep(0)
    log.gate.set()

    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 9
    assert await fresh("a") == 3


async def test_reads_of_different_issuers_do_not_wait_for_each_other():
    log = Log()
    fresh = Freshly(log.read)
    both = [asyncio.create_task(fresh(which)) for which in "ab"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert log.begun == 2
    log.gate.set()
    assert sorted(await asyncio.gather(*both)) == [1, 2]


async def test_a_read_that_fails_fails_for_those_who_shared_it_and_not_for_the_next():
    answers = [OSError("away"), "here"]

    async def read(_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    fresh = Freshly(read)

    failed = await asyncio.gather(fresh("a"), fresh("a"), return_exceptions=True)

    assert [type(each) for each in failed] == [OSError, OSError]
    assert await fresh("a") == "here"


async def test_one_who_gives_up_does_not_spoil_the_read_for_others():
    log = Log()
    fresh = Freshly(log.read)
    impatient, patient = asyncio.create_task(fresh("a")), asyncio.create_task(fresh("a"))
    await asyncio.sleep(0)

    impatient.cancel()
    log.gate.set()

    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient
