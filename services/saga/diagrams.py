"""``python -m services.saga.diagrams``: a page with a Mermaid diagram of every saga, as `make render` writes it.

What is drawn is the definition itself: its steps, what runs side by side, what is undone by what, where there is no way
back.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any, assert_never

from services.saga.core.definition import AnyDefinition
from services.saga.core.steps import Asked, Await, Each, Node, Parallel, Sleep, Step
from services.saga.definitions import DEFINITIONS

_HEAD = """<!-- Written by `make render` from services/saga/definitions. Not to be edited. -->

# The sagas

Each is a table in `services/saga/definitions`. From top to bottom: what is asked, one after another; what is in a frame
runs side by side, and what comes after waits for all of it. To the right: how a step is taken back. Round: people, or
time. A thick arrow leads to where there is no way back any more. A dashed border: not in every such saga. What an
operator may say to a saga: [commands.md](commands.md).
"""


def page() -> str:
    definitions: tuple[AnyDefinition, ...] = DEFINITIONS
    return _HEAD + "".join(f"\n{_section(definition)}" for definition in definitions)


def _section(definition: AnyDefinition) -> str:
    title = f"## {definition.saga_type}" + (f", version {definition.version}" if _has_versions(definition) else "")
    said = (sys.modules[definition.completed.__module__].__doc__ or "").strip()
    begun = sorted({trigger.on.__name__ for trigger in definition.triggers})
    by = f"\n\nBegun also by: {', '.join(f'`{name}`' for name in begun)}." if begun else ""
    forward = "\n\nThere is no way back from the first step on." if definition.forward else ""
    return f"{title}\n\n{said}{by}{forward}\n\n```mermaid\n{diagram(definition)}\n```\n"


def diagram(definition: AnyDefinition) -> str:
    """One definition as a Mermaid flowchart."""
    return "\n".join(["flowchart TB", *(f"    {line}" for line in _Drawing(definition).lines())])


class _Drawing:
    def __init__(self, definition: AnyDefinition) -> None:
        self._definition = definition
        self._frames = 0

    def lines(self) -> Iterator[str]:
        yield "start([start])"
        ends = yield from self._row(self._definition.steps, ["start"])
        for end in ends:
            yield f"{end} --> completed([completed])"

    def _row(self, nodes: Sequence[Node[Any]], before: list[str]) -> Generator[str, None, list[str]]:
        """The nodes after *before*; returns what the next ones come after."""
        arrow = "-->"
        for node in nodes:
            match node:
                case Parallel(branches=branches):
                    self._frames += 1
                    yield f"subgraph side{self._frames}[side by side]"
                    ends = []
                    for branch in branches:
                        ends += yield from self._row(branch, before)
                    yield "end"
                    before = ends
                case Each(step=step):
                    yield from self._box(step, f"{step.name}<br/>for each", before, arrow)
                    before, arrow = [_id(step.name)], "==>" if step.pivot else "-->"
                case Step() | Await() | Sleep():
                    yield from self._box(node, node.name, before, arrow)
                    before, arrow = [_id(node.name)], "==>" if node.pivot else "-->"
                case _:
                    assert_never(node)
        return before

    def _box(self, node: Asked[Any], label: str, before: list[str], arrow: str) -> Iterator[str]:
        name = _id(node.name)
        match node:
            case Step():
                yield f'{name}["{label}"]'
                yield from self._undo(node)
            case Await():
                yield f'{name}(["{label}: {node.signal}"])'
            case Sleep():
                yield f'{name}(["{label}"])'
        for each in before:
            yield f"{each} {arrow} {name}"
        if getattr(node, "when", None) is not None or getattr(node, "unless", None) is not None:
            yield f"style {name} stroke-dasharray: 5 5"

    def _undo(self, step: Step[Any]) -> Iterator[str]:
        if step.undo:
            undone = "<br/>".join(undo.ask.__name__.replace("_", "-") for undo in step.undo)
            yield f'{_id(step.name)} -. undo .-> {_id(step.name)}_undo["{undone}"]'


def _id(name: str) -> str:
    return name.replace("-", "_")


def _has_versions(definition: AnyDefinition) -> bool:
    return sum(each.saga_type == definition.saga_type for each in DEFINITIONS) > 1


if __name__ == "__main__":
    sys.stdout.write(page())
