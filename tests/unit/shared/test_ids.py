"""Derived ids: clients in other languages compute them too (docs/contract.md, section 2)."""

from datetime import UTC, datetime
from hashlib import sha256
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.ids import derive_id, id_from_stream_position, new_id, timestamp_of

NAMES = st.text(max_size=30)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _by_the_book(milliseconds, seed):
    """RFC 9562, 5.7, written bit by bit: unix_ts_ms, ver, rand_a, var, rand_b; the random ones from SHA-256."""
    drawn = "".join(f"{octet:08b}" for octet in sha256(seed).digest())[:74]
    bits = f"{milliseconds:048b}" + "0111" + drawn[:12] + "10" + drawn[12:]
    digits = f"{int(bits, 2):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@pytest.mark.parametrize(
    ("cause", "consequence", "expected"),
    [
        ("0192f0c1-0000-7000-8000-000000000001", "KeyGenerated", "0192f0c1-0000-7678-bf24-e45e3dcf52c0"),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", "schlüssel/Ω", "ffffffff-ffff-70c7-9e78-e54f3f682b1a"),
    ],
)
def test_a_derived_id_is_what_the_contract_says_it_is(cause, consequence, expected):
    computed = _by_the_book(int(cause.replace("-", "")[:12], 16), UUID(cause).bytes + consequence.encode("utf-8"))

    assert str(derive_id(UUID(cause), consequence)) == computed == expected


def test_the_id_of_a_message_that_came_without_one_is_made_of_where_the_stream_keeps_it():
    computed = _by_the_book(int(NOON.timestamp()) * 1000, b"KEYS_COMMANDS/17")

    assert str(id_from_stream_position("KEYS_COMMANDS", 17, NOON)) == computed


@given(st.uuids(), NAMES)
def test_a_derived_id_is_a_version_7_uuid_of_its_causes_time(cause, consequence):
    derived = derive_id(cause, consequence)

    assert derived.version == 7
    assert derived.variant == RFC_4122
    assert derived.bytes[:6] == cause.bytes[:6]


@given(st.uuids(), NAMES)
def test_the_same_cause_told_twice_has_the_same_consequence(cause, consequence):
    assert derive_id(cause, consequence) == derive_id(UUID(str(cause)), consequence)


@given(st.uuids(), NAMES, NAMES)
def test_two_consequences_of_one_cause_differ(cause, one, other):
    assert (derive_id(cause, one) == derive_id(cause, other)) == (one == other)


@given(st.uuids(), st.uuids(), NAMES)
def test_the_same_consequence_of_two_causes_differs(one, other, consequence):
    assert (derive_id(one, consequence) == derive_id(other, consequence)) == (one == other)


@given(st.uuids(), st.lists(NAMES, min_size=1, max_size=5))
def test_a_whole_conversation_keeps_the_time_that_it_began_at(cause, consequences):
    last = cause
    for consequence in consequences:
        last = derive_id(last, consequence)

    assert last.bytes[:6] == cause.bytes[:6]


@given(st.integers(min_value=1, max_value=2**63), st.integers(min_value=1, max_value=2**63))
def test_two_places_in_a_stream_have_two_ids(one, other):
    ids = [id_from_stream_position("KEYS_COMMANDS", sequence, NOON) for sequence in (one, other)]

    assert (ids[0] == ids[1]) == (one == other)
    assert all(timestamp_of(identity) == NOON for identity in ids)


def test_new_ids_are_version_7_and_differ_and_sort_by_when_they_were_drawn():
    drawn = [new_id() for _ in range(100)]

    assert {identity.version for identity in drawn} == {7}
    assert len(set(drawn)) == 100
    assert drawn == sorted(drawn)


def test_only_a_version_7_id_tells_when_it_was_drawn():
    assert timestamp_of(UUID("0192f0c1-0000-4000-8000-000000000001")) is None
    assert timestamp_of(UUID(int=0)) is None
    assert timestamp_of(UUID("00000000-03e8-7000-8000-000000000000")) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@given(st.uuids())
def test_whatever_id_a_client_chose_can_be_asked_when_it_was_drawn(chosen):
    version_7 = UUID(int=chosen.int & ~(0xF << 76) | 7 << 76)

    when = timestamp_of(version_7)

    assert when is None or when.tzinfo is UTC
