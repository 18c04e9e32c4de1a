"""The terminal: its output streams, and the connection settings of its user."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from services.console.client import Exit, connected
from services.console.formatting import outcome_lines, print_line, printable
from services.console.wire_message import WireMessage
from shared.nats.connection import ANONYMOUS, Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Output streams, the server, and the actor."""

    url: str
    actor: str
    out: Console
    notes: Console
    access: Access = ANONYMOUS
    role: str = "operator"

    def connected(self, report: Callable[[str], None]) -> AbstractAsyncContextManager[Client]:
        return connected(self.url, report, self.access, self.role)

    def print(self, lines: Iterable[str | Text]) -> None:
        for line in lines:
            print_line(self.out, line if isinstance(line, Text) else printable(line))

    def note(self, text: str) -> None:
        print_line(self.notes, f"cim-keys: {printable(text)}")

    def raw(self, payload: bytes) -> None:
        """Writes one line of bytes unchanged, for programs."""
        sys.stdout.buffer.write(payload + b"\n")
        sys.stdout.buffer.flush()

    def outcome(self, event: WireMessage, output: str, *, good: bool) -> int:
        if output == "json":
            self.raw(event.data)
        else:
            for line in outcome_lines(event, good=good):
                print_line(self.out, line)
        return Exit.DONE if good else Exit.NOT_DONE
