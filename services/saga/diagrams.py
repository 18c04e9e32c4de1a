"""``python -m services.saga.diagrams``: prints docs/sagas.md, a Mermaid diagram of every saga definition."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any, assert_never

from services.saga.core.definition import AnyDefinition
from services.saga.core.steps import Await, Each, Parallel, Row, SingleStep, Sleep, Step
from services.saga.definitions import DEFINITIONS

_HEAD = """<!-- Written by `make render` from services/saga/definitions. Not to be edited. -->

# The sagas

Each is a table in `services/saga/definitions`.

- From top to bottom: the steps, one after another. A frame: steps side by side; the next step waits for all of them.
- A dotted arrow: the undo of a step. A dashed border: a step that not every such saga has.
- Round: a wait for people, or for a time. A thick arrow: after this step, the pivot, the saga only goes forward.

Commands for operators: [commands.md](commands.md).
"""


def page() -> str:
    definitions: tuple[AnyDefinition, ...] = DEFINITIONS
    return _HEAD + "".join(f"\n{_section(definition)}" for definition in definitions)


def _section(definition: AnyDefinition) -> str:
    title = f"## {definition.saga_type}" + (f", version {definition.version}" if _has_versions(definition) else "")
    description = (sys.modules[definition.completed.__module__].__doc__ or "").strip()
    events = sorted({trigger.event_type.__name__ for trigger in definition.triggers})
    triggers = f"\n\nTriggered by: {', '.join(f'`{name}`' for name in events)}." if events else ""
    forward = "\n\nForward only: nothing is undone." if definition.forward_only else ""
    return f"{title}\n\n{description}{triggers}{forward}\n\n```mermaid\n{diagram(definition)}\n```\n"


def diagram(definition: AnyDefinition) -> str:
    """Draws one definition as a Mermaid flowchart."""
    return "\n".join(["flowchart TB", *(f"    {line}" for line in _Drawing(definition).lines())])


class _Drawing:
    def __init__(self, definition: AnyDefinition) -> None:
        self._definition = definition
        self._frames = 0

    def lines(self) -> Iterator[str]:
        yield "start([start])"
        ends = yield from self._branch(self._definition.steps, ["start"])
        for end in ends:
            yield f"{end} --> completed([completed])"

    def _branch(self, rows: Sequence[Row[Any]], before: list[str]) -> Generator[str, None, list[str]]:
        """Draws a branch after *before*; returns the steps that the next ones come after."""
        arrow = "-->"
        for row in rows:
            match row:
                case Parallel(branches=branches):
                    self._frames += 1
                    yield f"subgraph side{self._frames}[side by side]"
                    ends = []
                    for branch in branches:
                        ends += yield from self._branch(branch, before)
                    yield "end"
                    before = ends
                case Each(step=step):
                    yield from self._box(step, f"{step.name}<br/>for each", before, arrow)
                    before, arrow = [_id(step.name)], "==>" if step.pivot else "-->"
                case Step() | Await() | Sleep():
                    yield from self._box(row, row.name, before, arrow)
                    before, arrow = [_id(row.name)], "==>" if row.pivot else "-->"
                case _:
                    assert_never(row)
        return before

    def _box(self, step: SingleStep[Any], label: str, before: list[str], arrow: str) -> Iterator[str]:
        name = _id(step.name)
        match step:
            case Step():
                yield f'{name}["{label}"]'
                yield from self._undo(step)
            case Await():
                yield f'{name}(["{label}: {step.signal}"])'
            case Sleep():
                yield f'{name}(["{label}"])'
        for each in before:
            yield f"{each} {arrow} {name}"
        if getattr(step, "when", None) is not None or getattr(step, "unless", None) is not None:
            yield f"style {name} stroke-dasharray: 5 5"

    def _undo(self, step: Step[Any]) -> Iterator[str]:
        if step.undo:
            label = "<br/>".join(undo.command.__name__.replace("_", "-") for undo in step.undo)
            yield f'{_id(step.name)} -. undo .-> {_id(step.name)}_undo["{label}"]'


def _id(name: str) -> str:
    return name.replace("-", "_")


def _has_versions(definition: AnyDefinition) -> bool:
    return sum(each.saga_type == definition.saga_type for each in DEFINITIONS) > 1


if __name__ == "__main__":
    sys.stdout.write(page())
