"""The live conversation: what is asked and what is reported, a line each, a saga's doings indented under it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from rich.text import Text

from services.console.client import STREAM, Exit, Failure, history, last
from services.console.formatting import SHORT_ID, clock, gist, printable
from services.console.wire_message import Heard
from shared.messages.headers import Header
from shared.messages.ids import timestamp_of
from shared.nats.client import flush_subscriptions

_COLOURS = {"key": "yellow", "certificate": "cyan", "yubikey": "magenta", "saga": "blue"}
_MARKS = {
    "started": ("▸", "bold blue"),
    "compensating": ("↩", "yellow"),
    "waiting": ("⧖", "yellow"),
    "signalled": ("✎", "green"),
    "completed": ("●", "bold green"),
    "compensated": ("○", "bold yellow"),
    "failed": ("✗", "bold red"),
}
Show = Callable[[Heard], Awaitable[None]]
_CLOCK_SKEW = timedelta(minutes=1)
_LOOK_WHETHER_CLOSED = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the conversation is followed: one saga's, one conversation's, or all of it."""

    saga: str | None = None
    correlation: str | None = None
    since_start: bool = False

    def includes(self, heard: Heard) -> bool:
        if self.correlation and heard.headers.get(Header.CORRELATION_ID) != self.correlation:
            return False
        return not self.saga or self.saga in (heard.saga_id, heard.body.get("saga_id"))

    def ends_with(self, heard: Heard) -> bool:
        return bool(self.saga) and heard.is_end and heard.identity == self.saga


async def watch(client: Client, wanted: Wanted, show: Show, ready: Callable[[], None]) -> None:
    """Show what is *wanted* as it is said, until its saga is over; without a saga, until cancelled."""
    live: asyncio.Queue[Heard] = asyncio.Queue()

    async def on_message(message: Msg) -> None:
        live.put_nowait(Heard.of(message))

    for pattern in ("keys.events.>", "keys.commands.>"):
        await client.subscribe(pattern, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await flush_subscriptions(client)
    shown, end = await _past(client.jetstream(), wanted, show)
    ready()
    while end is None or not live.empty():
        try:
            async with asyncio.timeout(_LOOK_WHETHER_CLOSED):
                heard = await live.get()
        except TimeoutError:
            if client.is_closed:
                raise Failure(Exit.NO_CONNECTION, "the server closed the connection") from None
            continue
        if wanted.includes(heard) and not (heard.is_event and heard.event_id in shown):
            await show(heard)
            if wanted.ends_with(heard):
                return
    if end.event_id not in shown:
        await show(end)


async def _past(js: JetStreamContext, wanted: Wanted, show: Show) -> tuple[set[str], Heard | None]:
    """Show what was said before, if that is wanted; returns the ids of what was shown, and the end if it is over."""
    shown: set[str] = set()
    if wanted.since_start:
        config = await _beginning(js, wanted)
        if config is None:
            return shown, None
        async with aclosing(history(js, config)) as past:
            async for heard in past:
                if wanted.includes(heard):
                    await show(heard)
                    shown.add(heard.event_id)
                    if wanted.ends_with(heard):
                        return shown, heard
    elif wanted.saga:
        last_told = await last(js, f"keys.events.saga.*.*.{wanted.saga}")
        if last_told is not None and last_told.is_end:
            return shown, last_told
    return shown, None


async def _beginning(js: JetStreamContext, wanted: Wanted) -> ConsumerConfig | None:
    """From where on the stream has to be read; None where there is nothing yet."""
    if wanted.saga:
        try:
            started = await js.get_msg(STREAM, subject=f"keys.events.saga.*.started.{wanted.saga}", direct=False)
        except NotFoundError:
            return None
        return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=started.seq)
    began = timestamp_of(UUID(wanted.correlation)) if wanted.correlation else None
    if began is None:
        return ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    since: Any = (began - _CLOCK_SKEW).isoformat().replace("+00:00", "Z")  # nats-py says int; the API takes RFC 3339
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)


@dataclass(slots=True)
class Lines:
    """What was heard as lines; remembers how many steps each saga has, for "step 3 of 8"."""

    steps: dict[str, int] = field(default_factory=dict)
    asides: dict[str, int] = field(default_factory=dict)

    def line(self, heard: Heard) -> Text:
        source = printable(heard.headers.get(Header.SOURCE, "?"))[:11]
        what, style = self._what(heard)
        telling = gist(heard)
        if heard.announcement == "step":
            telling = f"attempt {heard.body['attempts']}" if heard.body.get("attempts", 1) != 1 else ""
        elif heard.announcement == "started":
            telling = f"{len(heard.body.get('steps', ()))} steps"
        line = Text.assemble(
            (clock(heard.at), "dim"),
            "  ",
            (f"{source:11}", _COLOURS.get(source, "")),
            "  ",
            (f"{printable(what):46}", style),
            "  ",
            (f"{printable(heard.identity)[-SHORT_ID:]:8}", "dim"),
            "  ",
            telling,
        )
        line.rstrip()
        if not heard.is_event:
            line.stylize("dim")
        return line

    def _what(self, heard: Heard) -> tuple[str, str]:
        """What is said, indented by how deep in a saga it is, and how it is coloured."""
        body = heard.body
        match heard.announcement:
            case None:
                indent = "    " if heard.headers.get(Header.SAGA_ID) else ""
                refused = heard.kind == "command.rejected" or heard.kind.endswith("-failed")
                style = "red" if refused else "bold yellow" if heard.kind == "prompt.raised" else ""
                return f"{indent}{'' if heard.is_event else '→ '}{heard.kind}", style
            case "step":
                # While a saga goes forward it announces its start (0), its steps, and asides: what people are asked.
                done = int(body.get("sequence", 0)) - self.asides.get(heard.identity, 0)
                of = f"{done}/{self.steps.get(heard.identity, '?')}"
                return f"  ✓ {of} {body.get('step')}", "green"
            case "started":
                self.steps[heard.identity] = len(body.get("steps", ()))
            case "waiting" | "signalled":
                self.asides[heard.identity] = self.asides.get(heard.identity, 0) + 1
            case _ if heard.is_end:
                self.steps.pop(heard.identity, None)
                self.asides.pop(heard.identity, None)
            case _:
                pass
        mark, style = _MARKS.get(heard.announcement, ("·", ""))
        indent = "" if heard.is_end or heard.announcement == "started" else "  "
        return f"{indent}{mark} {heard.kind}", style

    async def know_steps(self, js: JetStreamContext, heard: Heard) -> None:
        """Look up how many steps a saga has that had begun before it was watched."""
        if heard.announcement == "step" and heard.identity not in self.steps:
            started = await last(js, f"keys.events.saga.*.started.{heard.identity}")
            self.steps[heard.identity] = len(started.body.get("steps", ())) if started else 0
