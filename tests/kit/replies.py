"""Simulated answers of the services: golden samples of their events, with the fields of the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.saga.core.steps import Step
from shared.contracts.base import Command, Event
from shared.contracts.rejection import CommandRejected, CommandRepeated, RejectionCode
from shared.contracts.saga.protocol import StartSaga

SAMPLES = Path(__file__).parents[1] / "contracts" / "samples"


@cache
def _sample(event_type: type[Event]) -> dict[str, Any]:
    path = SAMPLES / f"{event_type.__name__}.json"
    sample: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return sample


def event_for(event_type: type[Event], command: Command, fields: Mapping[str, Any] | None = None) -> Event:
    """Makes an event of that type that answers *command*: *fields* first, then those of the command that fit, then the
    sample's. Raises LookupError without a golden sample, if *fields* are not enough.
    """
    body = dict(_sample(event_type))
    if isinstance(command, StartSaga):
        body |= {"saga_type": command.saga_type(), "sequence": 1}
    command_body = command.model_dump(mode="json")
    body[event_type.identified_by] = command.identity
    for name in command_body.keys() & event_type.model_fields.keys():
        if command_body[name] is not None and _is_valid(event_type, body | {name: command_body[name]}):
            body[name] = command_body[name]
    try:
        return event_type.model_validate_json(json.dumps(body | dict(fields or {})))
    except ValidationError as error:
        name = event_type.__name__
        problem = f"no valid fields for {name}" if _sample(event_type) else f"no golden sample of {name}"
        raise LookupError(f"{problem}: give the fields in answers=… ({error})") from error


def _is_valid(event_type: type[Event], body: dict[str, Any]) -> bool:
    try:
        event_type.model_validate_json(json.dumps(body))
    except ValidationError:
        return False
    return True


def rejection(command_id: str, command: Command, code: RejectionCode, *, retryable: bool = False) -> CommandRejected:
    return CommandRejected(
        command_id=command_id,
        command_type=type(command).__name__,
        aggregate_id=command.identity,
        code=code,
        message="so says the test",
        retryable=retryable,
    )


def repeated(command_id: str, command: Command) -> CommandRepeated:
    return CommandRepeated(command_id=command_id, command_type=type(command).__name__, aggregate_id=command.identity)


def done_by(step: Step[Any], part: int | None) -> type[Event]:
    """Returns the type of the event that ends the step, or one part of its undo."""
    if part is None:
        return step.done
    done = step.undo[part].done
    return done[0] if isinstance(done, tuple) else done


def failed_by(step: Step[Any]) -> type[Event] | None:
    """Returns the type of an event that fails the step, other than the end of a child saga; None without one."""
    failed = step.failed if isinstance(step.failed, tuple) else (step.failed,)
    return next((each for each in failed if each is not None and each.aggregate_type != "saga"), None)
