"""Every fault at every APDU of a provisioning: the saga finishes, and device and log agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from yubikit.core.smartcard import SW

from services.saga.definitions.certificate_provisioning import CERTIFICATE_PROVISIONING
from services.saga.definitions.pki_bootstrap import PKI_BOOTSTRAP
from services.virtual_yubikey.faults import ErrorStatus, PowerCut, Removal, at_apdu
from tests.support.in_process_suite import together
from tests.support.waiting import until

FIRST = 42_000_001
FAULTS = {
    "power is cut before": PowerCut(),
    "power is cut after": PowerCut(after=True),
    "an unknown error": ErrorStatus(0x6F00),
    "no space": ErrorStatus(SW.NO_SPACE),
    "not allowed": ErrorStatus(SW.SECURITY_CONDITION_NOT_SATISFIED),
}
"""Faults that end when they have happened: the device can be used again at once."""
IMPATIENT = replace(
    CERTIFICATE_PROVISIONING,
    steps=tuple(replace(step, timeout=timedelta(seconds=3)) for step in CERTIFICATE_PROVISIONING.steps),
)
MOST_APDUS = 70


async def provisioned(world, serial, **changes):
    saga_id = await world.suite.provision(yubikey_serial=str(serial), **changes)
    return await world.suite.end_of(saga_id)


async def apdus_of_one(world, origin):
    """Number of APDUs of a provisioning without faults."""
    world.yubikeys.inject_faults(FIRST, lambda *_: None)
    assert (await provisioned(world, FIRST, key_origin=origin)).tokens[4] == "completed"
    return world.yubikeys.apdu_count(FIRST)


@pytest.mark.parametrize("origin", ["on-device", "imported"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_at_every_apdu(server, tmp_path, origin, fault):
    serials = range(FIRST, FIRST + MOST_APDUS)
    async with together(server, tmp_path, serials, (PKI_BOOTSTRAP, IMPATIENT)) as world:
        number = await apdus_of_one(world, origin)
        assert 20 < number < MOST_APDUS
        for n in range(1, number):
            world.yubikeys.inject_faults(FIRST + n, at_apdu(n, FAULTS[fault]))
        sagas = [
            await world.suite.provision(yubikey_serial=str(FIRST + n), key_origin=origin) for n in range(1, number)
        ]
        ends = [await world.suite.end_of(saga_id) for saga_id in sagas]

        for n, end in enumerate(ends, 1):
            serial, slots = FIRST + n, {"completed": {"9a"}, "compensated": set()}
            logged = set(await world.logged(serial))
            assert end.tokens[4] in slots, (n, end.body)
            assert logged == slots[end.tokens[4]], (n, end.tokens[4])
            assert world.yubikeys.apdu_count(serial) > n, "the fault was not met"
            assert await world.agree(serial), n
        if fault == "not allowed":  # it is met where nothing was done, and where something was
            assert {end.tokens[4] for end in ends} == {"completed", "compensated"}


async def test_a_device_that_is_taken_away_is_left_over_and_put_right_when_it_is_back(server, tmp_path):
    number = 24
    async with together(server, tmp_path, range(FIRST, FIRST + number), (PKI_BOOTSTRAP, IMPATIENT)) as world:
        for n in range(number):
            world.yubikeys.inject_faults(FIRST + n, at_apdu(n, Removal(after=bool(n % 2))))
        sagas = [await world.suite.provision(yubikey_serial=str(FIRST + n)) for n in range(number)]
        ends = [await world.suite.end_of(saga_id) for saga_id in sagas]
        failed = {n: sagas[n] for n, end in enumerate(ends) if end.tokens[4] == "failed"}
        assert failed
        assert len(failed) < number
        for n, end in enumerate(ends):
            assert end.tokens[4] in {"compensated", "failed"}, (n, end.body)
            assert n not in failed or [left["step"] for left in end.body["left_over"]] == ["generate-slot-key"]
            world.yubikeys.inject_faults(FIRST + n, None)
            world.yubikeys.plug_in(FIRST + n)
        await until(lambda: _all_are_inserted(world, number))

        for saga_id in failed.values():
            await world.suite.ask("saga.retry", {"saga_id": saga_id, "reason": "it is back"})
            await world.suite.last_event(f"keys.events.saga.*.undone.*.{saga_id}")
        for n in range(number):
            assert not await world.logged(FIRST + n)
            assert await world.agree(FIRST + n), n


async def _all_are_inserted(world, number):
    last = {}
    for event in await world.suite.events("keys.events.yubikey.*.*"):
        if event.tokens[3] in {"inserted", "removed"}:
            last[event.body["serial"]] = event.tokens[3]
    return list(last.values()) == ["inserted"] * number
