"""Fields of a command as flags, from the JSON schema of its contract model, and the body built from their values.

The service validates the body. This module rejects only values that no body can be built from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from shared.contracts.base import DERIVED, Command
from shared.contracts.registry import MESSAGES
from shared.messages.catalog import COMMANDS, catalog

Schema = Mapping[str, Any]
Body = dict[str, Any]

_FLAG = re.compile(r"--(?P<name>[A-Za-z][\w.-]*)(?P<value>=.*)?", re.DOTALL)
_MAX_CHOICES_SHOWN = 8
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class WrongUsage(Exception):
    """The arguments do not form a command. The message names the arguments that would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a command. *path* is dotted for nested fields; *kind* is a JSON schema type."""

    path: str
    kind: str
    type_name: str
    required: bool
    description: str = ""
    item_kind: str = "string"

    def __str__(self) -> str:
        return f"{self.path}{'*' if self.required else ''} ({self.type_name})"


def command_names() -> list[str]:
    """Returns all commands of the catalog, without the prefix of their subjects."""
    return [subject.removeprefix(f"{COMMANDS}.") for subject in catalog().commands]


def model_of(name: str) -> type[Command]:
    """Returns the contract model of a command. Raises WrongUsage with the existing commands."""
    message = catalog().commands.get(f"{COMMANDS}.{name}")
    if message is not None:
        model = MESSAGES[message]
        assert issubclass(model, Command)
        return model
    names = command_names()
    raise WrongUsage(f"there is no command {name!r}{_suggestion(name, names)}; there are {', '.join(names)}")


def fields_of(model: type[Command]) -> list[Field]:
    """Returns the fields of *model*; nested fields follow their object."""
    schema = model.model_json_schema()
    return list(_fields(schema, schema.get("$defs", {}), "", needed=True))


def value_fields(fields: Sequence[Field]) -> list[Field]:
    """Returns the fields that take a value, without the objects that contain them."""
    return [field for field in fields if not any(other.path.startswith(f"{field.path}.") for other in fields)]


def normalize_flags(tokens: Sequence[str], fields: Sequence[Field]) -> list[str]:
    """Returns *tokens* with each field flag in its canonical spelling: dashes equal underscores."""
    paths = {field.path for field in fields}
    return [_canonical(token, paths) for token in tokens]


def unknown_flag(name: str, token: str, fields: Sequence[Field]) -> WrongUsage:
    shown = value_fields(fields)
    suggestion = _suggestion(token.lstrip("-").replace("-", "_"), [field.path for field in shown], "--")
    return WrongUsage(f"{name} has no field {token}{suggestion}; it takes {', '.join(map(str, shown))} (* is required)")


def build(fields: Sequence[Field], given: Mapping[str, Sequence[str]], base: Body | None = None) -> Body:
    """Returns *base* with the values of the flags in *given*. Raises WrongUsage."""
    body: Body = json.loads(json.dumps(base or {}))
    kinds = {field.path: field for field in fields}
    for path in sorted(given, key=lambda path: path.count(".")):  # an object before its fields
        _set_at(body, path.split("."), _parse(kinds[path], given[path]))
    return body


def read_object(text: str, origin: str) -> Body:
    """Parses the JSON object in *text*. Raises WrongUsage naming *origin*."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise WrongUsage(f"{origin} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WrongUsage(f"{origin} must be a JSON object")
    return value


def _fields(schema: Schema, definitions: Schema, prefix: str, *, needed: bool) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, property_schema in schema.get("properties", {}).items():
        kind, description = _resolve(property_schema, definitions)
        path, is_required = f"{prefix}{name}", needed and name in required
        items, _ = _resolve(kind.get("items", {}), definitions)
        item_kind = items.get("type", "string")
        yield Field(
            path=path,
            kind=kind.get("type", "object"),
            type_name=_type_name(kind, item_kind),
            required=is_required,
            description=description,
            item_kind=item_kind,
        )
        yield from _fields(kind, definitions, f"{path}.", needed=is_required)


def _resolve(property_schema: Schema, definitions: Schema) -> tuple[Schema, str]:
    """Returns type and description of a property. It follows references and ignores null."""
    description = property_schema.get("description", "")
    kind = property_schema
    if "anyOf" in kind:
        kind = next(option for option in kind["anyOf"] if option.get("type") != "null")
        description = description or kind.get("description", "")
    if "$ref" in kind:
        kind = definitions[kind["$ref"].rsplit("/", 1)[-1]]
    default = property_schema.get("default")
    if default == DERIVED:
        default = "derived from the command's id"
    if default not in (None, []):
        shown = default if isinstance(default, str) else json.dumps(default)
        description = f"{description}{'; ' if description else ''}default: {shown}"
    return kind, description


def _type_name(kind: Schema, item_kind: str) -> str:
    if choices := kind.get("enum"):
        more = "|…" if len(choices) > _MAX_CHOICES_SHOWN else ""
        return "|".join(map(str, choices[:_MAX_CHOICES_SHOWN])) + more
    if kind.get("type") == "array":
        return f"list of {item_kind}s"
    if "contentEncoding" in kind:
        return str(kind["contentEncoding"])
    return str(kind.get("type", "object"))


def _canonical(token: str, paths: set[str]) -> str:
    flag = _FLAG.fullmatch(token)
    if flag is None:
        return token
    path = flag["name"].replace("-", "_")
    return f"--{path}{flag['value'] or ''}" if path in paths else token


def _suggestion(typed: str, candidates: Sequence[str], prefix: str = "") -> str:
    close = get_close_matches(typed, candidates, n=1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def _parse(field: Field, texts: Sequence[str]) -> Any:
    if field.kind == "array":
        return [item for text in texts for item in _items(field, text)]
    if len(texts) > 1:
        raise WrongUsage(f"--{field.path} was given {len(texts)} times; it takes one value")
    return _value(field, field.kind, texts[0])


def _items(field: Field, text: str) -> list[Any]:
    if not text.lstrip().startswith("["):
        return [_value(field, field.item_kind, text)]
    try:
        items = json.loads(text)
    except ValueError as error:
        raise WrongUsage(f"--{field.path} is not a JSON list: {error}") from error
    assert isinstance(items, list)
    return items


def _value(field: Field, kind: str, text: str) -> Any:
    try:
        match kind:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return _TRUTH[text.lower()]
            case "object":
                return read_object(text, f"--{field.path}")
            case _:
                return text
    except (ValueError, KeyError) as error:
        expected = "true or false" if kind == "boolean" else f"an {kind}" if kind == "integer" else f"a {kind}"
        raise WrongUsage(f"--{field.path} takes {expected}, not {text[:64]!r}") from error


def _set_at(body: Body, path: Sequence[str], value: Any) -> None:
    *parents, field_name = path
    for name in parents:
        if not isinstance(body.get(name), dict):
            body[name] = {}
        body = body[name]
    body[field_name] = value
