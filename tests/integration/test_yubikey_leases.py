"""Leases in a real KEYS_DEVICES: one holder at a time, and an expired holder cannot write."""

import pytest

from services.yubikey.piv.session import open_piv
from services.yubikey.readers.fencing import FencedDevices
from services.yubikey.state.home import StateDirectory
from services.yubikey.state.intents import BUCKET, Intent, Intents
from services.yubikey.state.leases import Holder, Leases
from shared.errors import Conflict, Transient, Unusable
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.yubikeys import OTHER, SERIAL, SLOT_9A, plugged_in

LENGTH = 10.0


class Clock:
    """A manual clock for one process."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


DEAF = []


class Deaf(KeyValue):
    """A bucket whose acknowledgements can get lost."""

    async def put(self, *args, **kwargs):
        revision = await super().put(*args, **kwargs)
        if DEAF:
            DEAF.clear()
            raise TimeoutError
        return revision


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), BUCKET)


@pytest.fixture(name="process")
def _process(bucket):
    def process(name, home=None):
        clock = Clock()
        return Leases(bucket, Holder(f"agent-{home or name}", name, home or name), LENGTH, clock), clock

    return process


class TestALease:
    async def test_it_is_taken_and_renewed(self, process):
        leases, clock = process("a")

        assert await leases.acquire(SERIAL)
        clock.now += LENGTH - 1
        assert not await leases.acquire(SERIAL)
        clock.now += LENGTH - 1

        assert leases.require(SERIAL) == 1
        assert leases.held == [SERIAL]

    async def test_another_does_not_get_it_while_it_is_renewed(self, process):
        (ours, clock), (theirs, other_clock) = process("a"), process("b")
        await ours.acquire(SERIAL)

        for _ in range(5):
            clock.now += LENGTH / 2
            other_clock.now += LENGTH / 2
            await ours.acquire(SERIAL)
            with pytest.raises(Conflict, match="leased by agent-a"):
                await theirs.acquire(SERIAL)

    async def test_it_is_taken_over_once_it_has_stood_still_for_its_length_and_that_counts_an_epoch(self, process):
        (ours, _), (theirs, clock) = process("a"), process("b")
        await ours.acquire(SERIAL)
        with pytest.raises(Conflict):
            await theirs.acquire(SERIAL)
        clock.now += LENGTH * 1.2

        assert await theirs.acquire(SERIAL)

        assert theirs.require(SERIAL) == 2

    async def test_released_it_is_free_at_once_and_its_epoch_stays(self, process):
        (ours, _), (theirs, _) = process("a"), process("b")
        await ours.acquire(SERIAL)
        await ours.release(SERIAL)

        assert not ours.holds(SERIAL)
        assert await theirs.acquire(SERIAL)
        assert theirs.require(SERIAL) == 2

    async def test_a_successor_in_the_same_directory_need_not_wait(self, process):
        (dead, _), (successor, _) = process("a", "home"), process("b", "home")
        await dead.acquire(SERIAL)

        assert await successor.acquire(SERIAL)
        assert await successor.serials_of_this_home() == [SERIAL]

    async def test_a_renewal_whose_news_was_lost_is_no_loss(self, bucket):
        leases = Leases(Deaf(bucket.js, BUCKET), Holder("agent", "a", "a"), LENGTH, Clock())
        await leases.acquire(SERIAL)

        for again in (leases.acquire(SERIAL), leases.put(SERIAL, f"{SERIAL}.9a", b"{}")):
            DEAF.append("once")
            with pytest.raises(TimeoutError):
                await leases.acquire(SERIAL)
            await again

        assert leases.require(SERIAL) == 1


class TestAHolderThatSlept:
    @pytest.fixture(name="slept")
    async def _slept(self, process):
        """A suspended holder: another process has the lease by now. The clocks of both have advanced."""
        (ours, clock), (theirs, other_clock) = process("a"), process("b")
        await ours.acquire(SERIAL)
        with pytest.raises(Conflict):
            await theirs.acquire(SERIAL)
        clock.now += LENGTH * 1.2
        other_clock.now += LENGTH * 1.2
        await theirs.acquire(SERIAL)
        return ours, theirs, clock

    async def test_it_knows_by_its_clock_and_says_nothing_to_the_device(self, slept, tmp_path):
        ours, *_ = slept

        with pytest.raises(Transient, match="no longer"):
            ours.require(SERIAL)
        with pytest.raises(Transient):
            FencedDevices(plugged_in(tmp_path), ours).open(SERIAL)

    async def test_stopped_between_two_apdus_it_sends_no_other(self, process, tmp_path):
        ours, clock = process("a")
        await ours.acquire(SERIAL)
        devices = FencedDevices(plugged_in(tmp_path), ours)

        with open_piv(devices.open(SERIAL), SERIAL, devices, bytes(24)) as device:
            clock.now += LENGTH
            with pytest.raises(Transient):
                device.read(SLOT_9A)

    async def test_under_a_newer_lease_of_its_own_an_old_conversation_does_not_go_on(self, process, tmp_path):
        (ours, clock), (theirs, other_clock) = process("a"), process("b")
        await ours.acquire(SERIAL)
        devices = FencedDevices(plugged_in(tmp_path), ours)
        with open_piv(devices.open(SERIAL), SERIAL, devices, bytes(24)) as device:
            with pytest.raises(Conflict):
                await theirs.acquire(SERIAL)
            clock.now += LENGTH * 1.2
            other_clock.now += LENGTH * 1.2
            await theirs.acquire(SERIAL)
            await theirs.release(SERIAL)
            assert await ours.acquire(SERIAL)

            with pytest.raises(Transient):
                device.read(SLOT_9A)

    async def test_the_server_takes_no_intent_of_it_even_if_its_clock_stood_still(self, bucket, slept):
        ours, theirs, clock = slept
        clock.now -= LENGTH * 1.2
        assert ours.require(SERIAL) == 1

        with pytest.raises(Conflict):
            await Intents(bucket, ours).write(str(SERIAL), SLOT_9A, Intent(operation_id="old"), 0)

        assert await Intents(bucket).read(str(SERIAL), SLOT_9A) == (Intent(), 0)
        assert not ours.holds(SERIAL)
        await Intents(bucket, theirs).write(str(SERIAL), SLOT_9A, Intent(operation_id="new"), 0)
        assert (await Intents(bucket).read(str(SERIAL), SLOT_9A))[0] == Intent(operation_id="new", epoch=2)

    async def test_an_intent_of_a_newer_epoch_is_not_overwritten(self, bucket, process):
        leases, _ = process("a")
        await leases.acquire(SERIAL)

        with pytest.raises(Conflict, match="epoch 7"):
            await Intents(bucket, leases).write(str(SERIAL), SLOT_9A, Intent(operation_id="new", epoch=7), 0)

    async def test_nobody_else_came_so_it_goes_on(self, process):
        leases, clock = process("a")
        await leases.acquire(SERIAL)
        clock.now += LENGTH * 3
        with pytest.raises(Transient):
            leases.require(SERIAL)

        assert not await leases.acquire(SERIAL)
        assert leases.require(SERIAL) == 1

    async def test_a_lost_lease_is_not_taken_again_in_the_midst_of_what_was_begun_under_it(self, slept):
        ours, theirs, _ = slept
        with ours.in_use(SERIAL):
            await theirs.release(SERIAL)
            with pytest.raises(Conflict, match="has not ended yet"):
                await ours.acquire(SERIAL)

        assert await ours.acquire(SERIAL)
        assert ours.require(SERIAL) == 3


class TestADirectory:
    async def test_one_process_has_it_at_a_time_and_the_next_is_known_for_its_successor(self, tmp_path):
        home = await StateDirectory.claim(tmp_path / "state", 0)
        with pytest.raises(Unusable, match="in use by another yubikey service"):
            await StateDirectory.claim(tmp_path / "state", 0)
        home.release()

        successor = await StateDirectory.claim(tmp_path / "state", 0)

        assert successor.identity == home.identity
        successor.release()

    async def test_another_is_another(self, tmp_path):
        homes = [await StateDirectory.claim(tmp_path / name, 0) for name in ("one", "other")]

        assert homes[0].identity != homes[1].identity
        for home in homes:
            home.release()


async def test_leases_of_different_devices_have_nothing_to_do_with_each_other(process):
    (ours, _), (theirs, _) = process("a"), process("b")

    assert await ours.acquire(SERIAL)
    assert await theirs.acquire(OTHER)
    assert (ours.held, theirs.held) == ([SERIAL], [OTHER])
