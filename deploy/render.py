"""``make render``: writes docs/asyncapi.yaml from subjects.yaml and the contracts; a test compares them.

AsyncAPI is generated from the catalog and not by FastStream, which sees the commands of one service and no events
(docs/adr/0030).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from shared import __version__
from shared.contracts.registry import MESSAGES
from shared.contracts.saga.protocol import NumberedAnnouncement
from shared.messages.catalog import Route, catalog
from shared.messages.subjects import Subject

PAGE = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"
HEADER = "# Written by `make render` from subjects.yaml and shared/contracts. Not to be edited.\n"


def asyncapi() -> str:
    """The wire contract as AsyncAPI 3.0: a channel for each line of subjects.yaml, a message for each contract."""
    lines = catalog().routes
    _, schemas = models_json_schema(
        [(MESSAGES[route.message], "validation") for route in lines.values()],
        ref_template="#/components/schemas/{model}",
    )
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CIM Keys",
            "version": __version__,
            "description": "An event-sourced PKI on NATS. Every command ends in one event, or in one rejection.",
        },
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": {route.message: _channel(text, route) for text, route in lines.items()},
        "operations": dict(sorted(_operations(lines))),
        "components": {
            "messages": {name: _message(name) for name in sorted(MESSAGES)},
            "schemas": schemas["$defs"],
        },
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def _channel(text: str, route: Route) -> dict[str, Any]:
    message = MESSAGES[route.message]
    wildcards = Subject.parse(text).tokens.count("*")
    names = {
        0: (),
        1: (message.identified_by,),
        2: ("saga_type", message.identified_by),
        3: ("saga_type", "step", message.identified_by),
        4: ("saga_type", "step", "heard", message.identified_by),
    }[wildcards]
    if issubclass(message, NumberedAnnouncement):
        names = ("saga_type", "sequence", message.identified_by)
    address = str(Subject.parse(text))
    for name in names:
        address = address.replace("*", f"{{{name}}}", 1)
    channel: dict[str, Any] = {
        "address": address,
        "messages": {"it": {"$ref": f"#/components/messages/{route.message}"}},
    }
    if names:
        channel["parameters"] = {name: {"description": f"as in the payload's {name}"} for name in names}
    return channel


def _operations(lines: dict[str, Route]) -> list[tuple[str, dict[str, Any]]]:
    operations = []
    for route in lines.values():
        channel = {"channel": {"$ref": f"#/channels/{route.message}"}}
        operations += [(f"{role}.sends.{route.message}", {"action": "send", **channel}) for role in route.publishers]
        operations += [(f"{role}.reads.{route.message}", {"action": "receive", **channel}) for role in route.readers]
    return operations


def _message(name: str) -> dict[str, Any]:
    kind = MESSAGES[name]
    message: dict[str, Any] = {
        "name": name,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }
    if kind.__doc__:
        message["summary"] = " ".join(kind.__doc__.split())
    return message


if __name__ == "__main__":
    PAGE.write_text(asyncapi())
