"""Upcasts: events of earlier schema versions are converted step by step, wherever they are read."""

import json
from typing import ClassVar

import pytest
from pydantic import ValidationError

from services.saga import store
from services.saga.core.definition import Definition, Step
from services.saga.definitions.parts import key_undone
from shared.contracts.base import Event, Id, UnknownSchemaVersion
from shared.contracts.key.commands import GenerateKey
from shared.contracts.key.value_types import Algorithm
from shared.contracts.registry import MESSAGES
from shared.contracts.saga.protocol import StartSaga
from tests.kit import Conversation

ID = "0192f0c1-0000-7000-8000-000000000001"


def name_in_one(body):
    """Version 1 had two names."""
    first, last = body.pop("first_name"), body.pop("last_name")
    return {**body, "name": f"{first} {last}"}


def since_says_when(body):
    """Version 2 did not say since when."""
    return {**body, "since": 2020}


class BadgeGiven(Event):
    aggregate_type: ClassVar[str] = "key"
    identified_by: ClassVar[str] = "key_id"
    upcasts = (name_in_one, since_says_when)

    key_id: Id
    name: str
    since: int


TODAY = {"key_id": ID, "name": "Ada Lovelace", "since": 2020}
BODIES = {
    "1": {"key_id": ID, "first_name": "Ada", "last_name": "Lovelace"},
    "2": {"key_id": ID, "name": "Ada Lovelace"},
    "3": TODAY,
}


def stored(body, version):
    return BadgeGiven.from_stored(json.dumps(body).encode(), version)


@pytest.mark.parametrize("version", BODIES)
def test_whichever_version_it_was_stored_under_it_is_read_as_todays(version):
    assert stored(BODIES[version], version) == BadgeGiven(**TODAY)


def test_todays_version_follows_from_how_often_the_schema_changed():
    assert BadgeGiven.schema_version == 3
    assert {kind.schema_version for kind in MESSAGES.values()} == {1}


def test_what_says_no_version_is_of_the_first():
    assert BadgeGiven.from_stored(json.dumps(BODIES["1"]).encode(), "1") == BadgeGiven(**TODAY)


@pytest.mark.parametrize("version", ["4", "0", "-1", "1.0", "new", "²", ""])
def test_a_version_that_is_not_known_here_is_said_and_never_guessed(version):
    with pytest.raises(UnknownSchemaVersion, match="in schema version 1 to 3, not"):
        stored(TODAY, version)


def test_a_body_of_another_version_than_it_says_is_no_such_event():
    with pytest.raises((ValidationError, KeyError)):
        stored(BODIES["2"], "3")
    with pytest.raises((ValidationError, KeyError)):
        stored(TODAY, "1")


class StartBadge(StartSaga):
    pass


def make_key(saga):
    return GenerateKey(key_id=saga.id_of("key"), algorithm=Algorithm.EC_P256)


BADGE = Definition(
    "badge",
    StartBadge,
    (
        Step(make_key, BadgeGiven, undo=key_undone(lambda saga: saga.id_of("key"), "undone")),
        Step(make_key, BadgeGiven, name="again"),
    ),
)


def test_an_answer_that_a_saga_keeps_is_lifted_when_the_saga_is_read():
    talk = Conversation(BADGE, StartBadge()).complete("make-key", name="Ada Lovelace", since=2020)
    entry = json.loads(store.encode_entry(talk.saga))
    (kept,) = entry["answers"]
    assert kept["schema_version"] == 3
    kept |= {"event": {"key_id": kept["event"]["key_id"], **_without_id(BODIES["1"])}, "schema_version": 1}

    assert store.decode_entry(BADGE, entry).outcomes == talk.saga.outcomes


def _without_id(body):
    return {name: value for name, value in body.items() if name != "key_id"}
