"""Processes killed with SIGKILL at any moment while sagas run: every saga ends once, and what the log says is true.

The moments are drawn from a seed; what they hit is the machine's choice. The audit says what must hold in any case.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.settings import SERVICES
from tests.chaos.audit import audit
from tests.support.processes import kill, pids_of
from tests.support.suite import suite_up

ROOT = Path(__file__).parents[2]
SERIALS = list(range(42000001, 42000016))
SLOTS = {"authentication": "9a", "digital-signature": "9c", "key-management": "9d", "card-authentication": "9e"}
AWAY = "49999999"
UNKNOWN = "0192f0c1-0000-7000-8000-000000000000"
AUTHORITY = {"common_name": "Another CA", "algorithm": "ec-p256", "validity_days": 3650}
BOOTSTRAP = {"organization": "Acme", "root": AUTHORITY, "intermediate": AUTHORITY}
FAILING = [
    {"issuer_id": UNKNOWN},
    {"validity_days": 36_000},
    {"doomed": True},  # refused when there is a key already
    {"yubikey_serial": AWAY},
    {"slot": "9a", "purpose": "card-authentication"},  # occupied, or soon to be: one of the two is refused
]


def wishes(chance):
    """About sixty sagas of every kind: a slot of its own for each that can succeed, and every fifth that cannot."""
    slots = [(str(serial), purpose) for serial in SERIALS for purpose in SLOTS]
    chance.shuffle(slots)
    for number, (serial, purpose) in enumerate(slots):
        wish = {"yubikey_serial": serial, "purpose": purpose}
        wish["key_origin"] = chance.choice(["on-device", "imported"])
        wish["algorithm"] = chance.choice(["ec-p256", "ec-p256", "ec-p384", "rsa-2048"])
        yield wish | (chance.choice(FAILING) if number % 5 == 0 else {})


async def run_sagas(suite, chance):
    """Begin them over some seconds, and cancel a few; the ids, and what was wished for."""
    sagas = {}
    for number, wish in enumerate(wishes(chance)):
        sagas[await suite.provision(**wish)] = wish
        if number % 12 == 0:
            sagas[await suite.start_saga("pki-bootstrap", **BOOTSTRAP)] = BOOTSTRAP
        if number % 10 == 0:
            # what may have been done to a device that is away cannot be undone: such a saga would end as failed
            known = [saga_id for saga_id, wish in sagas.items() if wish.get("yubikey_serial") != AWAY]
            await suite.publish("saga.cancel", {"saga_id": chance.choice(known)})
        await asyncio.sleep(chance.uniform(0, 0.12))
    return sagas


async def kill_at_random(chance, targets, kills, between):
    """*targets* gives the process ids that may be hit now, by their names."""
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(*between))
        name, pid = chance.choice(sorted(targets().items()))
        kill(pid)
        print(f"killed {name} {pid}")


@asynccontextmanager
async def more_instances(suite, names):
    """A second and a third process of each of *names*, started again when they are killed."""
    running, tasks = {}, []

    async def keep(name, number):
        while True:
            with suite.local.log(f"{name}-{number}").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *suite.local.command(name), cwd=ROOT, env=suite.local.environment(name), stdout=log, stderr=log
                )
            running[f"{name}-{number}"] = process
            await process.wait()
            await asyncio.sleep(0.1)

    try:
        tasks = [asyncio.create_task(keep(name, number)) for name in names for number in (2, 3)]
        yield lambda: {name: process.pid for name, process in running.items() if process.returncode is None}
    finally:
        for task in tasks:
            task.cancel()
        for process in running.values():
            if process.returncode is None:
                kill(process.pid)
                await process.wait()


async def everything_ends(suite, seed, targets, kills, between):
    """Run sagas, kill what *targets* says meanwhile, wait for all to end, and audit."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    await suite.bootstrap()
    await suite.doomed_issuer()
    sagas, _ = await asyncio.gather(
        run_sagas(suite, random.Random(seed + 1)),  # noqa: S311 - the moments of a run must be repeatable
        kill_at_random(chance, targets, kills, between),
    )
    await asyncio.gather(*(suite.end_of(saga_id, within=60) for saga_id in sagas))
    ends = await audit(suite, sagas)
    print(ends)
    assert set(ends) == {"completed", "compensated"}
    assert ends["completed"] > len(sagas) / 2


def services_of(suite):
    return lambda: {name: pid for name, pid in pids_of(suite.local.state).items() if name in SERVICES}


async def test_services_killed_again_and_again_lose_nothing_and_do_nothing_twice(tmp_path):
    async with suite_up(tmp_path / "state", SERIALS) as suite:
        await everything_ends(suite, 1, services_of(suite), kills=14, between=(0.1, 0.6))


async def test_with_the_server_killed_too_nothing_is_lost_and_nothing_is_done_twice(tmp_path):
    async with suite_up(tmp_path / "state", SERIALS) as suite:
        await everything_ends(suite, 2, lambda: pids_of(suite.local.state), kills=8, between=(0.3, 0.9))


async def test_many_instances_of_each_service_do_the_work_of_one_while_they_are_killed(tmp_path):
    async with (
        suite_up(tmp_path / "state", SERIALS) as suite,
        more_instances(suite, ("key", "certificate", "saga")) as more,
    ):
        of_suite = services_of(suite)
        await everything_ends(suite, 3, lambda: {**of_suite(), **more()}, kills=14, between=(0.1, 0.6))
