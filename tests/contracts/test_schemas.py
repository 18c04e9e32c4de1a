"""A message's schema only grows. After an addition: ``python tests/contracts/update_schemas.py``, and commit that."""

import copy
import json

import pytest

from shared.contracts.registry import MESSAGES
from tests.contracts.growth import breaches, current, recorded

BEFORE, NOW = recorded(), json.loads(json.dumps(current()))


def test_no_message_is_gone():
    assert set(BEFORE) <= set(MESSAGES)


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_a_schema_only_grew(name):
    assert breaches(BEFORE[name], NOW.get(name, {})) == []


def test_the_recorded_schemas_are_those_of_today():
    assert NOW == BEFORE, "run python tests/contracts/update_schemas.py and commit what it writes"


def _removed(schema):
    del schema["properties"]["label"]


def _demanded(schema):
    schema["required"].append("label")


def _narrowed(schema):
    schema["$defs"]["Algorithm"]["enum"].remove("x25519")


def _shortened(schema):
    schema["properties"]["owner"]["anyOf"][0]["maxLength"] = 10


def _retyped(schema):
    schema["properties"]["exportable"]["type"] = "string"


def _redefined(schema):
    schema["properties"]["exportable"]["default"] = True


def _no_longer_optional(schema):
    schema["properties"]["label"] = schema["properties"]["label"]["anyOf"][0] | {"default": None}


@pytest.mark.parametrize(
    "change", [_removed, _demanded, _narrowed, _shortened, _retyped, _redefined, _no_longer_optional]
)
def test_a_schema_that_lost_or_demands_something_is_noticed(change):
    changed = copy.deepcopy(BEFORE["GenerateKey"])
    change(changed)

    assert breaches(BEFORE["GenerateKey"], changed)


def test_a_schema_that_grew_is_no_breach():
    grown = copy.deepcopy(BEFORE["GenerateKey"])
    grown["properties"]["curve"] = {"type": "string", "default": "any"}
    grown["$defs"]["Algorithm"]["enum"].append("ml-dsa-65")

    assert breaches(BEFORE["GenerateKey"], grown) == []
