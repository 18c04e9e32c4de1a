"""What the services would answer, made of the golden samples: about what was asked, in all else as the sample says."""

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
def _sample(kind: type[Event]) -> dict[str, Any]:
    path = SAMPLES / f"{kind.__name__}.json"
    told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return told


def answer(kind: type[Event], command: Command, said: Mapping[str, Any] | None = None) -> Event:
    """An event of that kind about what *command* asks for: fields of the same name are the command's, if they fit it;
    what is *said* comes before all else. Raises LookupError where there is no golden sample, and too little is said."""
    told = dict(_sample(kind))
    if isinstance(command, StartSaga):
        told |= {"saga_type": command.saga_type(), "sequence": 1}
    asked = command.model_dump(mode="json")
    told[kind.identified_by] = command.identity
    for name in asked.keys() & kind.model_fields.keys():
        if asked[name] is not None and _fits(kind, told | {name: asked[name]}):
            told[name] = asked[name]
    try:
        return kind.model_validate_json(json.dumps(told | dict(said or {})))
    except ValidationError as error:
        problem = f"no golden sample of {kind.__name__}" if not _sample(kind) else f"{kind.__name__} cannot say that"
        raise LookupError(f"{problem}: say in answers=… what is answered ({error})") from error


def _fits(kind: type[Event], told: dict[str, Any]) -> bool:
    try:
        kind.model_validate_json(json.dumps(told))
    except ValidationError:
        return False
    return True


def refusal(command_id: str, command: Command, code: RejectionCode, *, retryable: bool = False) -> CommandRejected:
    return CommandRejected(
        command_id=command_id,
        command_type=type(command).__name__,
        aggregate_id=command.identity,
        code=code,
        message="so says the test",
        retryable=retryable,
    )


def standing(command_id: str, command: Command) -> CommandRepeated:
    return CommandRepeated(command_id=command_id, command_type=type(command).__name__, aggregate_id=command.identity)


def done_by(step: Step[Any], part: int | None) -> type[Event]:
    """What answers the step, or one part of its undo."""
    if part is None:
        return step.done
    done = step.undo[part].done
    return done[0] if isinstance(done, tuple) else done


def failed_by(step: Step[Any]) -> type[Event] | None:
    """An event that fails the step, if there is one that is no other saga's end."""
    failed = step.failed if isinstance(step.failed, tuple) else (step.failed,)
    return next((kind for kind in failed if kind is not None and kind.aggregate_type != "saga"), None)
