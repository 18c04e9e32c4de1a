"""One golden sample a message: whatever was published once can still be read, and is written the same."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.contracts.base import Command
from shared.contracts.registry import MESSAGES

SAMPLES = {path.stem: path for path in Path(__file__).parent.glob("samples/*.json")}

each_message = pytest.mark.parametrize("name", sorted(MESSAGES))


def _sample(name):
    return SAMPLES[name].read_text()


def test_every_message_has_a_sample_and_every_sample_a_message():
    assert SAMPLES.keys() == MESSAGES.keys()


@each_message
def test_a_sample_is_read_and_written_the_same(name):
    message = MESSAGES[name].model_validate_json(_sample(name))

    assert json.loads(message.model_dump_json()) == json.loads(_sample(name))


@each_message
def test_a_sample_shows_every_field(name):
    assert json.loads(_sample(name)).keys() == MESSAGES[name].model_fields.keys()


@each_message
def test_what_was_read_and_written_once_is_written_the_same_for_ever(name):
    once = MESSAGES[name].model_validate_json(_sample(name))
    twice = MESSAGES[name].model_validate_json(once.model_dump_json())

    assert twice == once
    assert twice.model_dump_json() == once.model_dump_json()


@each_message
def test_a_field_that_the_message_does_not_have_is_refused(name):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        MESSAGES[name].model_validate_json(json.dumps(json.loads(_sample(name)) | {"pin": "123456"}))


@each_message
def test_a_field_that_a_value_in_the_message_does_not_have_is_refused(name):
    sample = json.loads(_sample(name))
    for field, value in sample.items():
        inner = value[0] if isinstance(value, list) else value
        if not isinstance(inner, dict) or field in ("details", "request", "answer"):  # bodies of whatever kind
            continue
        stranger = {**inner, "pin": "123456"}
        with pytest.raises(ValidationError, match="extra_forbidden"):
            MESSAGES[name].model_validate_json(
                json.dumps(sample | {field: [stranger] if isinstance(value, list) else stranger})
            )


@each_message
def test_a_message_is_about_the_aggregate_that_its_sample_names(name):
    message = MESSAGES[name].model_validate_json(_sample(name))

    assert message.identity == json.loads(_sample(name))[message.identified_by]
    assert isinstance(message, Command) or message.subject_tokens[-1] == message.identity


@each_message
def test_a_message_cannot_be_changed(name):
    message = MESSAGES[name].model_validate_json(_sample(name))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, message.identified_by, "another")
