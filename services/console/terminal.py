"""Where a person reads the console's answers, and what the console knows of who asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from nats.aio.client import Client
from rich.console import Console

from services.console.client import Exit, connected
from services.console.formatting import printable, say, summary
from services.console.wire_message import Heard
from shared.nats.connection import ANONYMOUS, Access


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the suite is, who asks, and where a person reads the answer."""

    url: str
    actor: str
    out: Console
    notes: Console
    access: Access = ANONYMOUS
    role: str = "operator"

    def connected(self, report: Callable[[str], None]) -> AbstractAsyncContextManager[Client]:
        return connected(self.url, report, self.access, self.role)

    def print(self, lines: Iterable[str]) -> None:
        for line in lines:
            say(self.out, printable(line))

    def note(self, text: str) -> None:
        say(self.notes, f"cim-keys: {printable(text)}")

    def raw(self, payload: bytes) -> None:
        """One line of bytes as they are, for programs."""
        sys.stdout.buffer.write(payload + b"\n")
        sys.stdout.buffer.flush()

    def outcome(self, event: Heard, output: str, *, good: bool) -> int:
        if output == "json":
            self.raw(event.data)
        else:
            for line in summary(event, good=good):
                say(self.out, line)
        return Exit.DONE if good else Exit.NOT_DONE
