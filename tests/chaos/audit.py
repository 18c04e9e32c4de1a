"""Invariants of log and devices once every saga is finished, whichever processes were killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tests.support.suite import ENDS, StoredEvent, Suite

_ONCE = {
    "key.generated",
    "key.exported",
    "key.revoked",
    "key.destroyed",
    "certificate.created",
    "certificate.signed",
    "certificate.revoked",
}


async def audit(suite: Suite, sagas: dict[str, dict[str, Any]]) -> Counter[str]:
    """Raises AssertionError with the first promise that was broken; returns how many sagas ended how."""
    events = await suite.events()
    ends = each_saga_ended_once(events, set(sagas))
    nothing_was_done_twice(events)
    every_command_has_one_answer(events)
    for saga_id, end in ends.items():
        if end.tokens[4] == "compensated":
            all_is_undone(events, saga_id)
    await devices_agree_with_the_log(suite, events)
    return Counter(end.tokens[4] for end in ends.values())


def each_saga_ended_once(events: list[StoredEvent], sagas: set[str]) -> dict[str, StoredEvent]:
    announced: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in events:
        if event.tokens[2] == "saga":
            announced[event.body["saga_id"]].append(event)
    ends = {}
    for saga_id in sagas:
        told = announced[saga_id]
        assert sorted(e.body["sequence"] for e in told) == list(range(len(told))), f"{saga_id}: gaps or repetitions"
        ended = [event for event in told if event.tokens[4] in ENDS]
        assert len(ended) == 1, f"{saga_id} ended {len(ended)} times"
        assert ended[0].body["sequence"] == len(told) - 1, f"{saga_id} went on after its end"
        ends[saga_id] = ended[0]
    return ends


def nothing_was_done_twice(events: list[StoredEvent]) -> None:
    ids = Counter(event.headers["CIM-Event-Id"] for event in events)
    assert not [i for i, n in ids.items() if n > 1], "an event was stored twice"
    for kind in _ONCE:
        counted = Counter(
            event.body[f"{kind.split('.')[0]}_id"]
            for event in events
            if event.subject.startswith(f"keys.events.{kind}.")
        )
        assert not [i for i, n in counted.items() if n > 1], f"{kind} more than once"
    populated = Counter(e.body["key_id"] for e in events if ".slot-populated." in e.subject)
    assert not [i for i, n in populated.items() if n > 1], "a slot was populated twice with one key"


def every_command_has_one_answer(events: list[StoredEvent]) -> None:
    """Of what sagas asked: one event caused by each command."""
    causes = Counter(e.headers["CIM-Causation-Id"] for e in events if e.tokens[2] != "saga")
    assert not [i for i, n in causes.items() if n > 1], "a command has two answers"


def all_is_undone(events: list[StoredEvent], saga_id: str) -> None:
    mine = [event for event in events if event.headers.get("CIM-Saga-Id") == saga_id and event.tokens[2] != "saga"]
    kinds = defaultdict(set)
    for event in mine:
        kinds[".".join(event.tokens[2:4])].add(event.tokens[4])
    assert kinds["certificate.created"] <= kinds["certificate.revoked"], f"{saga_id} left a certificate"
    assert kinds["key.generated"] <= kinds["key.destroyed"], f"{saga_id} left a key"
    put = [e.tokens[3] for e in mine if e.tokens[3] in ("slot-populated", "slot-cleared")]
    if "slot-populated" in put:  # what was asked of the slot meanwhile may be answered after it was cleared
        assert put[-1] == "slot-cleared", f"{saga_id} left a slot: {[e.subject for e in mine]}"


async def devices_agree_with_the_log(suite: Suite, events: list[StoredEvent]) -> None:
    """Each slot holds what the log says was last put there: asked of the device itself."""
    slots: dict[tuple[str, str], str | None] = {}
    for event in events:
        if event.tokens[2:4] in (["yubikey", "reset"], ["yubikey", "lost"]):  # emptied; or gone, and asked nothing
            slots = {
                where: None if where[0] == event.tokens[4] else key
                for where, key in slots.items()
                if where[0] != event.tokens[4] or event.tokens[3] == "reset"
            }
        if event.tokens[2] != "yubikey" or "slot" not in event.body:
            continue
        where = (event.body["serial"], event.body["slot"])
        match event.tokens[3]:
            case "slot-populated":
                slots[where] = event.body["public_key_pem"]
            case "slot-cleared" if event.body["cleared"]:
                slots[where] = None
    for (serial, slot), public_key in slots.items():
        answer = await suite.sees_in_slot(serial, slot)
        if public_key is None:
            assert answer.tokens[3] == "rejected", f"{serial} {slot} holds what the log says was cleared"
        else:
            assert answer.body.get("public_key_pem") == public_key, f"{serial} {slot}: {answer.body}"
