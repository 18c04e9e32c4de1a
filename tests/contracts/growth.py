"""Incompatible changes of a message's JSON schema: messages change only by addition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.contracts.registry import MESSAGES

SCHEMAS = Path(__file__).with_name("schemas.json")
Schema = dict[str, Any]
_LIMITS_FROM_BELOW = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_LIMITS_FROM_ABOVE = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def current() -> dict[str, Schema]:
    return {name: kind.model_json_schema() for name, kind in sorted(MESSAGES.items())}


def recorded() -> dict[str, Schema]:
    schemas: dict[str, Schema] = json.loads(SCHEMAS.read_text())
    return schemas


def breaches(before: Schema, after: Schema) -> list[str]:
    """Why a message or a reader of *before* may not get on with *after*; none: it only grew."""
    return list(_breaches(before, after, before, after, "it"))


def _breaches(before: Schema, after: Schema, old_root: Schema, new_root: Schema, where: str) -> Iterator[str]:
    before, after = _resolved(before, old_root), _resolved(after, new_root)
    if "anyOf" in before or "anyOf" in after:
        yield from _choices(before, after, old_root, new_root, where)
        return
    if before.get("type") != after.get("type"):
        yield f"{where} was a {before.get('type')} and is a {after.get('type')}"
        return
    yield from _narrower(before, after, where)
    if "items" in before:
        yield from _breaches(before["items"], after.get("items", {}), old_root, new_root, f"an item of {where}")
    fields, grown = before.get("properties", {}), after.get("properties", {})
    for name in fields.keys() & grown.keys():
        yield from _breaches(fields[name], grown[name], old_root, new_root, f"{where}.{name}")
        if "default" in grown[name] and fields[name].get("default") != grown[name]["default"]:
            yield f"{where}.{name} has another default"
    yield from (f"{where}.{name} is gone" for name in fields.keys() - grown.keys())
    required = set(after.get("required", [])) - set(before.get("required", []))
    yield from (f"{where}.{name} became required" for name in required)


def _narrower(before: Schema, after: Schema, where: str) -> Iterator[str]:
    lost = set(before.get("enum", [])) - set(after.get("enum", before.get("enum", [])))
    yield from (f"{where} can no longer be {value!r}" for value in lost)
    if before.get("pattern") != after.get("pattern"):
        yield f"{where} follows another pattern"
    for limit in _LIMITS_FROM_BELOW:
        if after.get(limit, float("-inf")) > before.get(limit, float("-inf")):
            yield f"{where} has a narrower {limit}"
    for limit in _LIMITS_FROM_ABOVE:
        if after.get(limit, float("inf")) < before.get(limit, float("inf")):
            yield f"{where} has a narrower {limit}"


def _choices(before: Schema, after: Schema, old_root: Schema, new_root: Schema, where: str) -> Iterator[str]:
    offered = after.get("anyOf", [after])
    for choice in before.get("anyOf", [before]):
        if all(any(_breaches(choice, other, old_root, new_root, where)) for other in offered):
            yield f"{where} can no longer be {_resolved(choice, old_root).get('type')}"


def _resolved(schema: Schema, root: Schema) -> Schema:
    if "$ref" in schema:
        resolved: Schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        return resolved
    return schema
