"""The event store: state, versions and appends with optimistic concurrency."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from shared.contracts.key.events import KeyDestroyed, KeyRevoked
from shared.errors import Conflict, Poison
from shared.messages.envelope import encode_event
from shared.messages.headers import Lineage
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from shared.store.event_store import MAX_COMMAND_IDS, Versioned
from shared.store.idempotent_publish import publish_once
from tests.support.ledger import Ledger, generated, ledger_store
from tests.support.waiting import until


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    return client.jetstream()


@pytest.fixture(name="key_id")
def _key_id():
    return str(new_id())


def _revoked(key_id, reason):
    return KeyRevoked(key_id=key_id, reason=reason)


async def _append(store, event, command_id=None):
    standing = await store.refresh(event.identity, await store.load(event.identity))
    await store.append(standing, event, Lineage.root(command_id or new_id()), "key")


async def _save(js, store, key_id):
    """Nothing waits for a snapshot but these tests."""
    await store.save()
    await until(lambda: KeyValue(js, "KEYS_SNAPSHOTS").get(f"key.{key_id}"))


async def _count(js):
    return (await js.stream_info("KEYS_EVENTS")).state.messages


async def test_what_nothing_happened_to_stands_at_the_beginning(js, key_id):
    store = ledger_store(js)

    assert await store.load(key_id) == Versioned(Ledger())
    assert await store.refresh(key_id, Versioned(Ledger())) == Versioned(Ledger())


async def test_what_was_appended_is_what_is_loaded(js, key_id):
    store = ledger_store(js)
    await _append(store, generated(key_id))
    await _append(store, _revoked(key_id, "first"))

    standing = await store.load(key_id)

    assert standing.state == Ledger(generated(key_id), ("first",))
    assert standing.sequence == 2
    assert standing == await ledger_store(js).refresh(key_id, Versioned(Ledger()))


async def test_an_aggregate_does_not_see_the_events_of_another(js, key_id):
    store, other = ledger_store(js), str(new_id())
    await _append(store, generated(other))
    await _append(store, generated(key_id))
    await _append(store, _revoked(other, "not this one"))

    assert (await ledger_store(js).refresh(key_id, Versioned(Ledger()))).state == Ledger(generated(key_id))


async def test_two_writers_cannot_both_append_to_what_they_read(js, key_id):
    one, other = ledger_store(js), ledger_store(js)
    read_by_one, read_by_other = await one.load(key_id), await other.load(key_id)
    await one.append(read_by_one, generated(key_id), Lineage.root(new_id()), "key")

    with pytest.raises(Conflict):
        await other.append(read_by_other, _revoked(key_id, "too late"), Lineage.root(new_id()), "key")

    assert await _count(js) == 1


async def test_of_many_writers_at_once_exactly_one_appends(js, key_id):
    stores = [ledger_store(js) for _ in range(20)]
    writing = [s.append(Versioned(Ledger()), generated(key_id), Lineage.root(new_id()), "key") for s in stores]

    outcomes = await asyncio.gather(*writing, return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(isinstance(outcome, Conflict) for outcome in outcomes if outcome is not None)
    assert await _count(js) == 1


async def test_who_lost_a_race_looks_again_and_then_appends(js, key_id):
    one, other = ledger_store(js), ledger_store(js)
    stale = await other.load(key_id)
    await _append(one, generated(key_id))
    with pytest.raises(Conflict):
        await other.append(stale, _revoked(key_id, "too late"), Lineage.root(new_id()), "key")

    now = await other.refresh(key_id, stale)
    await other.append(now, _revoked(key_id, "in time"), Lineage.root(new_id()), "key")

    assert (await one.refresh(key_id, await one.load(key_id))).state == Ledger(generated(key_id), ("in time",))


async def test_the_same_event_of_the_same_command_is_stored_once(js, key_id):
    lineage = Lineage.root(new_id())
    telling = [ledger_store(js).append(Versioned(Ledger()), generated(key_id), lineage, "key") for _ in range(3)]

    outcomes = [await asyncio.gather(told, return_exceptions=True) for told in telling]

    assert outcomes[0] == [None]
    assert all(outcome is None or isinstance(outcome, Conflict) for (outcome,) in outcomes)
    assert await _count(js) == 1


async def test_a_snapshot_is_read_by_another_process(js, key_id):
    one, other, command_id = ledger_store(js), ledger_store(js), new_id()
    await _append(one, generated(key_id), command_id)
    await _save(js, one, key_id)

    standing = await other.load(key_id)

    assert standing == await one.load(key_id)
    assert standing.has_handled(command_id)


async def test_a_snapshot_that_lags_is_found_out_by_the_append(js, key_id):
    one, other = ledger_store(js), ledger_store(js)
    await _append(one, generated(key_id))
    await _save(js, one, key_id)
    await _append(one, _revoked(key_id, "after the snapshot"))

    lagging = await other.load(key_id)
    with pytest.raises(Conflict):
        await other.append(lagging, _revoked(key_id, "on old knowledge"), Lineage.root(new_id()), "key")

    assert (await other.refresh(key_id, lagging)).state.reasons == ("after the snapshot",)


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"no JSON",
        b"[]",
        b"7",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "sequence": "x", "answered": [], "state": {}}',
        b'{"version": 1, "sequence": 1, "answered": 7, "state": {}}',
        b'{"version": 1, "sequence": 1, "answered": [], "state": {"generated": "yesterday"}}',
        b'{"version": 1, "sequence": 1, "answered": [], "state": null}',
    ],
)
async def test_a_snapshot_that_cannot_be_read_costs_nothing_but_time(js, key_id, spoilt):
    await _append(ledger_store(js), generated(key_id))
    await js.publish(f"$KV.KEYS_SNAPSHOTS.key.{key_id}", spoilt)
    store = ledger_store(js)

    await _append(store, _revoked(key_id, "all the same"))

    assert (await store.load(key_id)).state == Ledger(generated(key_id), ("all the same",))


async def test_a_lost_snapshot_costs_nothing_but_time(js, key_id):
    store = ledger_store(js)
    await _append(store, generated(key_id))
    await _save(js, store, key_id)
    await js.purge_stream("KV_KEYS_SNAPSHOTS")

    restarted = ledger_store(js)
    await _append(restarted, _revoked(key_id, "all the same"))

    assert (await restarted.load(key_id)).state == Ledger(generated(key_id), ("all the same",))


async def test_a_snapshot_of_another_shape_of_state_is_not_read(js, key_id):
    store = ledger_store(js, state_version=1)
    await _append(store, generated(key_id))
    await _save(js, store, key_id)

    newer = ledger_store(js, state_version=2)

    assert await newer.load(key_id) == Versioned(Ledger())
    assert (await newer.refresh(key_id, await newer.load(key_id))).state == Ledger(generated(key_id))


async def test_a_snapshot_of_what_the_log_has_lost_gives_way_to_the_log(js, key_id):
    await _append(ledger_store(js), generated(key_id))
    lost = {"born": None, "reasons": ["lost in a power cut"]}
    ahead = {"version": 1, "sequence": 1000, "answered": [], "state": lost}
    await js.publish(f"$KV.KEYS_SNAPSHOTS.key.{key_id}", json.dumps(ahead).encode())
    store = ledger_store(js)

    await _append(store, _revoked(key_id, "all the same"))

    assert (await store.load(key_id)).state == Ledger(generated(key_id), ("all the same",))


async def test_what_has_not_changed_is_not_saved_again(js, key_id):
    store = ledger_store(js)
    await _append(store, generated(key_id))
    for _ in range(3):
        await _save(js, store, key_id)

    document = await KeyValue(js, "KEYS_SNAPSHOTS").get(f"key.{key_id}")

    assert document.revision == 1
    assert json.loads(document.value)["state"]["reasons"] == []


async def test_saving_goes_on_after_it_could_not(js, key_id):
    store, too_much = ledger_store(js), str(new_id())
    standing = Versioned(Ledger(reasons=("x" * 2_000_000,)))
    await store.append(standing, generated(too_much), Lineage.root(new_id()), "key")
    saving = asyncio.create_task(store.save_forever(interval_s=0.01))
    await asyncio.sleep(0.05)

    await _append(store, generated(key_id))
    bucket = KeyValue(js, "KEYS_SNAPSHOTS")
    await until(lambda: bucket.get(f"key.{key_id}"))

    saving.cancel()
    assert await bucket.get(f"key.{too_much}") is None


async def test_the_latest_commands_are_remembered_and_the_oldest_forgotten(js, key_id):
    store, commands = ledger_store(js), [new_id() for _ in range(MAX_COMMAND_IDS + 1)]
    standing = Versioned(Ledger(generated(key_id)))
    for command_id in commands:
        await store.append(standing, _revoked(key_id, "again"), Lineage.root(command_id), "key")
        standing = await store.load(key_id)

    assert len(standing.command_ids) == MAX_COMMAND_IDS
    assert not standing.has_handled(commands[0])
    assert all(standing.has_handled(command_id) for command_id in commands[1:])
    assert not standing.has_all_command_ids
    assert (await ledger_store(js).refresh(key_id, Versioned(Ledger()))).command_ids == standing.command_ids


async def test_a_forgotten_command_is_found_in_the_log(js, key_id):
    store, commands, before = ledger_store(js), [new_id() for _ in range(5)], datetime.now(UTC)
    for command_id in commands:
        await _append(store, _revoked(key_id, "again"), command_id)
    other = str(new_id())
    await _append(store, generated(other), elsewhere := new_id())

    for command_id in commands:
        assert await store.handled_in_log(key_id, command_id, before)
    assert not await store.handled_in_log(key_id, new_id(), before)
    assert not await store.handled_in_log(key_id, elsewhere, before)
    assert not await store.handled_in_log(str(new_id()), commands[0], before)
    assert not await store.handled_in_log(key_id, commands[0], datetime.now(UTC) + timedelta(hours=1))


async def test_an_event_that_this_version_does_not_know_is_not_passed_over(js, key_id):
    await _append(ledger_store(js), generated(key_id))
    sealed = encode_event(KeyDestroyed(key_id=key_id), Lineage.root(new_id()).cause("KeyDestroyed"), "key")
    await js.publish(sealed.subject, sealed.payload, headers=sealed.headers)

    with pytest.raises(Poison, match="does not support"):
        await ledger_store(js).refresh(key_id, Versioned(Ledger()))


async def _publish(js, event, body, version):
    sealed = encode_event(event, Lineage.root(new_id()), "key")
    headers = sealed.headers | {"CIM-Schema-Version": version}
    await js.publish(sealed.subject, json.dumps(body).encode(), headers=headers)


async def test_an_event_of_an_earlier_schema_is_lifted_when_it_is_read(js, key_id, monkeypatch):
    await _append(ledger_store(js), generated(key_id))
    await _publish(js, _revoked(key_id, "lost"), {"key_id": key_id, "why": "lost"}, "1")

    monkeypatch.setattr(KeyRevoked, "upcasts", (lambda body: {"key_id": body["key_id"], "reason": body["why"]},))
    monkeypatch.setattr(KeyRevoked, "schema_version", 2)

    standing = await ledger_store(js).refresh(key_id, Versioned(Ledger()))
    assert standing.state == Ledger(generated(key_id), ("lost",))


async def test_an_event_of_a_later_schema_is_not_decided_upon_and_which_it_is_is_said(js, key_id):
    await _append(ledger_store(js), generated(key_id))
    await _publish(js, _revoked(key_id, "lost"), {"key_id": key_id, "cause": {"kind": "lost"}}, "2")

    with pytest.raises(Poison, match=r"this release supports KeyRevoked in schema version 1, not '2'"):
        await ledger_store(js).refresh(key_id, Versioned(Ledger()))


async def test_a_subject_that_can_have_one_message_has_one(js, key_id):
    one, other = (encode_event(generated(key_id), Lineage.root(new_id()), "key") for _ in range(2))

    assert await publish_once(js, one) is True
    assert await publish_once(js, other) is False
    assert await _count(js) == 1


@pytest.mark.parametrize("junk", [b"{}", b"junk", b""])
async def test_what_is_none_of_the_suites_events_is_passed_over(js, key_id, junk):
    store = ledger_store(js)
    await _append(store, generated(key_id))
    await js.publish(f"keys.events.key.revoked.{key_id}", junk)
    await store.refresh(key_id, await store.load(key_id))
    await _append(store, _revoked(key_id, "lost"))

    assert (await store.load(key_id)).state == Ledger(generated(key_id), ("lost",))
