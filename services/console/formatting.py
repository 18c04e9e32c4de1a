"""Formatting for a terminal: message summaries, outcomes, tables, times."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.console.wire_message import WireMessage

SHORT_ID = 8
_MAX_VALUE_LENGTH = 120
_LAYOUT_WIDTH = 100_000
"""Columns of the layout: more than any line has."""
_PEM = "-----BEGIN "
_SUMMARY_FIELDS = (
    "code",
    "profile",
    "algorithm",
    "purpose",
    "provenance",
    "slot",
    "subject.common_name",
    "root.common_name",
    "organization",
    "yubikey_serial",
    "key_origin",
    "signature_algorithm",
    "reason",
    "label",
    "about",
    "signal",
    "actor",
)
"""The fields of a one-line summary, in order."""


class Page(Console):
    """A rich console that raises BrokenPipeError when its reader has gone, like any other file."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def printable(value: object) -> str:
    """Returns *value* as one line without control characters: message content is untrusted."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def print_line(console: Console, text: str | Text) -> None:
    """Prints *text* unwrapped and without markup. Pass message content through `printable` first."""
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


def format_clock(at: datetime) -> str:
    """Formats local time, with the date unless it is today."""
    here = at.astimezone()
    today = here.date() == datetime.now(UTC).astimezone().date()
    return f"{here:%H:%M:%S}.{here.microsecond // 1000:03}" if today else f"{here:%Y-%m-%d %H:%M:%S}"


def format_age(since: datetime | None) -> str:
    if since is None:
        return "?"
    seconds = (datetime.now(UTC) - since) / timedelta(seconds=1)
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def summarize(message: WireMessage) -> str:
    """Describes a message in one line: the reason of a rejection, the algorithm of a key, the name of a certificate."""
    body = message.body
    if message.kind == "command.rejected":
        return printable(f"{body.get('command_type')}: {body.get('code')}: {body.get('message')}")
    if message.kind == "prompt.raised":
        return printable(_prompt_summary(body))
    if message.kind == "command.repeated":
        return printable(f"{body.get('command_type')}: already done")
    found = (_value_at(body, path) for path in _SUMMARY_FIELDS)
    words = [str(value) for value in found if isinstance(value, str | int)]
    notes = {"simulated": (True, "virtual"), "existed": (False, "there was none"), "cleared": (False, "it was empty")}
    words += [note for name, (value, note) in notes.items() if body.get(name) is value]
    return printable(" · ".join(words))


def _prompt_summary(body: Mapping[str, Any]) -> str:
    device = f"YubiKey {body.get('serial')}"
    request = f"touch {device} now" if body.get("wanted") == "touch" else f"enter the PIN of {device}"
    try:
        until = format_clock(datetime.fromisoformat(str(body.get("deadline")))).partition(".")[0]
    except ValueError:
        until = "?"
    return f"{request} · {body.get('command_type')} waits until {until}"


def outcome_lines(message: WireMessage, *, good: bool) -> Iterator[Text]:
    """Lines of an outcome: kind and fields, then PEM blocks. Long values are cut; `--output json` has them."""
    yield Text.assemble((message.kind, "bold green" if good else "bold red"), ("  " + format_clock(message.at), "dim"))
    fields = dict(flatten(message.body))
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        shown = "(below)" if value.startswith(_PEM) else printable(value)
        if len(shown) > _MAX_VALUE_LENGTH and " " not in shown:  # a key or a signature, not a sentence
            shown = f"{shown[:60]}… ({len(shown)} characters; --output json has them all)"
        yield Text.assemble(f"  {name:{width}}  ", shown)
    for name, value in fields.items():
        if value.startswith(_PEM):
            yield Text(f"\n{name}", style="bold")
            yield Text("\n".join(map(printable, value.strip().splitlines())))


def is_success(message: WireMessage) -> bool:
    """Tells whether the outcome is neither a rejection nor a failure."""
    verb = message.kind.rsplit(".", 1)[-1]
    return verb not in ("rejected", "compensated", "failed") and not verb.endswith("-failed")


def align(rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Formats *rows* in aligned columns, without a header."""
    return _render(Table.grid(padding=(0, 2, 0, 0)), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Formats *rows* in aligned columns under *header*."""
    return _render(Table.grid(padding=(0, 2, 0, 0)), [header, *rows])


def _render(grid: Table, rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Lays *rows* out with rich at the width of their content. Scripts read these lines, so none may be wrapped."""
    for _ in rows[0] if rows else ():
        grid.add_column(no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    layout = Console(width=_LAYOUT_WIDTH, color_system=None, legacy_windows=False)
    for segments in layout.render_lines(grid, pad=False):
        yield Text("".join(segment.text for segment in segments).rstrip())


def _value_at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def flatten(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields all values of *body* by dotted path, without nulls."""
    for name, value in body.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            yield f"{prefix}{name}", ", ".join(value) or "-"
        elif isinstance(value, str):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
