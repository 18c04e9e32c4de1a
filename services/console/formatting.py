"""How things read for a person: one line for what was said, a summary for an outcome, ages, columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from services.console.wire_message import Heard

SHORT_ID = 8
_LONGEST = 120
_PEM = "-----BEGIN "
_TELLING = (
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
"""The fields that say most, in the order they are read in."""


class Page(Console):
    """A console whose reader may leave: then the process is told so as with any other file."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def printable(value: object) -> str:
    """*value* as one line that cannot steer the terminal: anybody may publish anything."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def say(console: Console, text: str | Text) -> None:
    """Print *text* as it is: neither wrapped nor read as markup. What comes from the wire is made `printable` first."""
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


def clock(at: datetime) -> str:
    """The local time; with the date if that is not today's."""
    here = at.astimezone()
    today = here.date() == datetime.now(UTC).astimezone().date()
    return f"{here:%H:%M:%S}.{here.microsecond // 1000:03}" if today else f"{here:%Y-%m-%d %H:%M:%S}"


def age(since: datetime | None) -> str:
    if since is None:
        return "?"
    seconds = (datetime.now(UTC) - since) / timedelta(seconds=1)
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def gist(heard: Heard) -> str:
    """What is worth a glance: of a rejection why, of a key its algorithm, of a certificate its name."""
    body = heard.body
    if heard.kind == "command.rejected":
        return printable(f"{body.get('command_type')}: {body.get('code')}: {body.get('message')}")
    if heard.kind == "prompt.raised":
        return printable(_wanted_of_a_person(body))
    if heard.kind == "command.repeated":
        return printable(f"{body.get('command_type')}: it stands already")
    found = (_at(body, path) for path in _TELLING)
    words = [str(value) for value in found if isinstance(value, str | int)]
    notes = {"simulated": (True, "virtual"), "existed": (False, "there was none"), "cleared": (False, "it was empty")}
    words += [note for name, (value, note) in notes.items() if body.get(name) is value]
    return printable(" · ".join(words))


def _wanted_of_a_person(body: Mapping[str, Any]) -> str:
    device = f"YubiKey {body.get('serial')}"
    wanted = f"touch {device} now" if body.get("wanted") == "touch" else f"the PIN of {device} is wanted"
    try:
        until = clock(datetime.fromisoformat(str(body.get("deadline")))).partition(".")[0]
    except ValueError:
        until = "?"
    return f"{wanted} · {body.get('command_type')} waits until {until}"


def summary(heard: Heard, *, good: bool) -> Iterator[Text]:
    """An outcome at length: its kind and every field, with what is long or in PEM left to the end or to JSON."""
    yield Text.assemble((heard.kind, "bold green" if good else "bold red"), ("  " + clock(heard.at), "dim"))
    told = dict(flat(heard.body))
    width = max(map(len, told), default=0)
    for name, value in told.items():
        shown = "(below)" if value.startswith(_PEM) else printable(value)
        if len(shown) > _LONGEST and " " not in shown:  # a key or a signature, not a sentence
            shown = f"{shown[:60]}… ({len(shown)} characters; --output json has them all)"
        yield Text.assemble(f"  {name:{width}}  ", shown)
    for name, value in told.items():
        if value.startswith(_PEM):
            yield Text(f"\n{name}", style="bold")
            yield Text("\n".join(map(printable, value.strip().splitlines())))


def succeeded(heard: Heard) -> bool:
    """Whether the outcome is what was asked for."""
    last = heard.kind.rsplit(".", 1)[-1]
    return last not in ("rejected", "compensated", "failed") and not last.endswith("-failed")


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """*rows* with their cells under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def flat(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value in *body* by its dotted path; what is absent is left out."""
    for name, value in body.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            yield f"{prefix}{name}", ", ".join(value) or "-"
        elif isinstance(value, str):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
