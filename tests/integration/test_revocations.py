"""The revocation register on a real server: complete, despite restarts of the server."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest
from nats.errors import Error

from services.certificate.revocation.log import RevocationLog
from shared.contracts.certificate.events import CertificateRevoked
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.errors import Poison
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.streams import declare
from tests.support.nats import NatsServer, connected
from tests.support.revocation_pki import holder

ROOT = holder(Profile.ROOT, days=3650)
ALICE, BOB, CAROL = (holder(Profile.PIV_AUTHENTICATION, ROOT, name=name) for name in ("Alice", "Bob", "Carol"))


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    return client.jetstream()


async def tell(js, *events):
    for event in events:
        sealed = encode_event(event, Lineage.root(new_id()), "certificate")
        await js.publish(sealed.subject, sealed.payload, headers=sealed.headers)


def listed(revocations):
    return {f"{each.serial:x}" for each in revocations.register.entries_of(ROOT.certificate_id)}


async def test_an_empty_log_is_heard_to_its_end(js):
    assert await RevocationLog(js).catch_up() == 0


async def test_all_that_the_log_holds_is_heard_and_nothing_else_moves_the_position(js):
    revocations = RevocationLog(js)
    await tell(
        js, *ALICE.issuance_events(), ALICE.revoked(), *BOB.issuance_events(), BOB.held(), *CAROL.issuance_events()
    )

    assert await revocations.catch_up() == 6
    assert listed(revocations) == {ALICE.serial, BOB.serial}

    await tell(js, BOB.released(), CAROL.revoked())

    assert await revocations.catch_up() == await revocations.catch_up() == 10
    assert listed(revocations) == {ALICE.serial, CAROL.serial}


async def test_a_revocation_that_does_not_say_whose_the_certificate_was_is_understood_by_what_was_signed(js):
    """Events of version 0.1.0 lack the issuer."""
    revocations = RevocationLog(js)
    of_before = {"issuer_id": None, "not_after": None}
    await tell(js, *ALICE.issuance_events(), ALICE.revoked().model_copy(update=of_before))
    await tell(js, BOB.revoked().model_copy(update=of_before))  # of which nothing was ever signed

    assert await revocations.catch_up() == 4
    assert listed(revocations) == {ALICE.serial}


async def test_the_time_of_a_revocation_is_the_streams_and_not_its_publishers(js):
    event = encode_event(ALICE.revoked(), Lineage.root(new_id()), "certificate")
    headers = event.headers | {"CIM-Timestamp": "2001-01-01T00:00:00.000000Z"}
    await js.publish(event.subject, event.payload, headers=headers)
    revocations = RevocationLog(js)
    await revocations.catch_up()

    stored = await js.get_msg("KEYS_EVENTS", seq=1)
    [revocation] = revocations.register.entries_of(ROOT.certificate_id)

    assert revocation.at.year > 2001
    assert revocation.at == stored.time.replace(microsecond=0)


async def test_who_asks_at_the_same_time_hears_the_same(js):
    revocations = RevocationLog(js)
    await tell(js, *(holder(Profile.PIV_AUTHENTICATION, ROOT).revoked() for _ in range(20)))

    assert await asyncio.gather(*(revocations.catch_up() for _ in range(10))) == [20] * 10
    assert len(listed(revocations)) == 20


async def test_whoever_begins_later_comes_to_the_same(js):
    early = RevocationLog(js)
    leaves = [holder(Profile.PIV_AUTHENTICATION, ROOT) for _ in range(30)]
    for leaf in leaves:
        await tell(js, *leaf.issuance_events(), leaf.held() if int(leaf.serial, 16) % 3 else leaf.revoked())
        await early.catch_up()
    await tell(js, *(leaf.released() for leaf in leaves if int(leaf.serial, 16) % 3 == 1))
    late = RevocationLog(js)

    assert await early.catch_up() == await late.catch_up()
    assert early.register.entries_of(ROOT.certificate_id) == late.register.entries_of(ROOT.certificate_id)


async def test_a_server_that_was_killed_and_came_back_changes_nothing(js, server):
    revocations = RevocationLog(js)
    await tell(js, ALICE.revoked())
    await revocations.catch_up()

    server.kill()
    with pytest.raises((Error, TimeoutError, OSError)):
        await asyncio.wait_for(revocations.catch_up(), 1)
    await server.start()
    async with asyncio.timeout(10):
        while not js._nc.is_connected:  # noqa: ASYNC110, SLF001 - there is nothing to await in nats-py
            await asyncio.sleep(0.02)
    await tell(js, BOB.revoked())

    assert await revocations.catch_up() == 2
    assert listed(revocations) == {ALICE.serial, BOB.serial}


async def test_what_is_none_of_the_suites_is_passed_over(js):
    await js.publish(f"keys.events.certificate.revoked.{ALICE.certificate_id}", b"{}")
    await tell(js, BOB.revoked())
    await js.publish(f"keys.events.certificate.held.{ALICE.certificate_id}", b"junk")
    revocations = RevocationLog(js)

    assert await revocations.catch_up() == 3
    assert listed(revocations) == {BOB.serial}


async def test_an_event_of_the_suite_that_cannot_be_read_is_said_and_not_passed_over(js):
    newer = encode_event(ALICE.revoked(), Lineage.root(new_id()), "certificate")
    await js.publish(newer.subject, b'{"certificate_id": 1}', headers=newer.headers)
    revocations = RevocationLog(js)

    for _ in range(2):
        with pytest.raises(Poison, match=ALICE.certificate_id):
            await revocations.catch_up()


async def test_a_voided_id_is_no_certificate(js):
    voided = CertificateRevoked(certificate_id=str(new_id()), reason=RevocationReason.UNSPECIFIED, existed=False)
    await tell(js, voided, ALICE.revoked(signed=False))
    revocations = RevocationLog(js)

    assert await revocations.catch_up() == 2
    assert listed(revocations) == set()


@asynccontextmanager
async def restarted(server, change):
    server.kill()
    change()
    await server.start()
    async with connected(server.url) as client:
        await declare(client)
        yield client.jetstream()


async def test_a_log_that_was_put_back_to_what_it_was_is_read_anew(tmp_path):
    """The process survives, the server is given an older backup: what it said since must be forgotten, too."""
    store, backup = tmp_path / "store", tmp_path / "backup"
    server = NatsServer(store)
    await server.start()
    try:
        async with connected(server.url) as client:
            await declare(client)
            await tell(client.jetstream(), ALICE.revoked())

        async with restarted(server, lambda: shutil.copytree(store, backup)) as js:
            revocations = RevocationLog(js)
            await tell(js, BOB.revoked())
            assert await revocations.catch_up() == 2

            def restore():
                shutil.rmtree(store)
                shutil.copytree(backup, store)

            async with restarted(server, restore) as again:
                revocations._js = again  # noqa: SLF001 - in life it is one connection that comes back
                assert await revocations.catch_up() == 1
                assert listed(revocations) == {ALICE.serial}

                await tell(again, CAROL.revoked())
                assert await revocations.catch_up() == 2
                assert listed(revocations) == {ALICE.serial, CAROL.serial}
    finally:
        server.stop()


async def test_another_event_in_the_place_of_the_last_one_heard_is_noticed(tmp_path):
    store = tmp_path / "store"
    server = NatsServer(store)
    await server.start()
    try:
        async with connected(server.url) as client:
            await declare(client)
            revocations = RevocationLog(client.jetstream())
            await tell(client.jetstream(), ALICE.revoked())
            await revocations.catch_up()

            async with restarted(server, lambda: shutil.rmtree(store)) as js:
                revocations._js = js  # noqa: SLF001 - in life it is one connection that comes back
                assert await revocations.catch_up() == 0
                assert listed(revocations) == set()
                await tell(js, BOB.revoked())
                await revocations.catch_up()

            for told in ((CAROL,), (BOB, ALICE)):
                async with restarted(server, lambda: shutil.rmtree(store)) as js:
                    revocations._js = js  # noqa: SLF001 - as above
                    await tell(js, *(each.revoked() for each in told))
                    assert await revocations.catch_up() == len(told)
                    assert listed(revocations) == {each.serial for each in told}
    finally:
        server.stop()
