"""`cim-keys watch`: commands and events as they happen, one line each, those of a saga indented."""

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

from services.console.client import STREAM, Exit, Failure, last_event, read_events
from services.console.formatting import SHORT_ID, format_clock, printable, summarize
from services.console.wire_message import WireMessage
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
Show = Callable[[WireMessage], Awaitable[None]]
_CLOCK_SKEW = timedelta(minutes=1)
_CLOSED_CHECK_S = 5.0


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Selects one saga, one conversation, or everything. *since_start*: stored events first."""

    saga: str | None = None
    correlation: str | None = None
    since_start: bool = False

    def includes(self, message: WireMessage) -> bool:
        if self.correlation and message.headers.get(Header.CORRELATION_ID) != self.correlation:
            return False
        return not self.saga or self.saga in (message.saga_id, message.body.get("saga_id"))

    def ends_with(self, message: WireMessage) -> bool:
        return bool(self.saga) and message.is_end and message.identity == self.saga


async def watch(client: Client, watch_filter: WatchFilter, show: Show, on_ready: Callable[[], None]) -> None:
    """Shows messages that pass the filter until the saga ends; without a saga, until cancelled."""
    live: asyncio.Queue[WireMessage] = asyncio.Queue()

    async def on_message(message: Msg) -> None:
        live.put_nowait(WireMessage.of(message))

    for pattern in ("keys.events.>", "keys.commands.>"):
        await client.subscribe(pattern, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await flush_subscriptions(client)
    shown, end = await _show_stored(client.jetstream(), watch_filter, show)
    on_ready()
    while end is None or not live.empty():
        try:
            async with asyncio.timeout(_CLOSED_CHECK_S):
                message = await live.get()
        except TimeoutError:
            if client.is_closed:
                raise Failure(Exit.NO_CONNECTION, "the server closed the connection") from None
            continue
        if watch_filter.includes(message) and not (message.is_event and message.event_id in shown):
            await show(message)
            if watch_filter.ends_with(message):
                return
    if end.event_id not in shown:
        await show(end)


async def _show_stored(
    js: JetStreamContext, watch_filter: WatchFilter, show: Show
) -> tuple[set[str], WireMessage | None]:
    """Shows stored events if requested. Returns their ids, and the last event of a finished saga."""
    shown: set[str] = set()
    if watch_filter.since_start:
        config = await _start_position(js, watch_filter)
        if config is None:
            return shown, None
        async with aclosing(read_events(js, config)) as stored_events:
            async for message in stored_events:
                if watch_filter.includes(message):
                    await show(message)
                    shown.add(message.event_id)
                    if watch_filter.ends_with(message):
                        return shown, message
    elif watch_filter.saga:
        last_announcement = await last_event(js, f"keys.events.saga.*.*.{watch_filter.saga}")
        if last_announcement is not None and last_announcement.is_end:
            return shown, last_announcement
    return shown, None


async def _start_position(js: JetStreamContext, watch_filter: WatchFilter) -> ConsumerConfig | None:
    """Returns the stream position to read from; None if the saga has no event yet."""
    if watch_filter.saga:
        try:
            started = await js.get_msg(STREAM, subject=f"keys.events.saga.*.started.{watch_filter.saga}", direct=False)
        except NotFoundError:
            return None
        return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=started.seq)
    began = timestamp_of(UUID(watch_filter.correlation)) if watch_filter.correlation else None
    if began is None:
        return ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    since: Any = (began - _CLOCK_SKEW).isoformat().replace("+00:00", "Z")  # nats-py says int; the API takes RFC 3339
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)


@dataclass(slots=True)
class WatchFormatter:
    """Formats messages; counts the steps of each saga for "3/8"."""

    steps: dict[str, int] = field(default_factory=dict)
    other_announcements: dict[str, int] = field(default_factory=dict)

    def line(self, message: WireMessage) -> Text:
        source = printable(message.headers.get(Header.SOURCE, "?"))[:11]
        label, style = self._label(message)
        detail = summarize(message)
        if message.announcement == "step":
            detail = f"attempt {message.body['attempts']}" if message.body.get("attempts", 1) != 1 else ""
        elif message.announcement == "started":
            detail = f"{len(message.body.get('steps', ()))} steps"
        line = Text.assemble(
            (format_clock(message.at), "dim"),
            "  ",
            (f"{source:11}", _COLOURS.get(source, "")),
            "  ",
            (f"{printable(label):46}", style),
            "  ",
            (f"{printable(message.identity)[-SHORT_ID:]:8}", "dim"),
            "  ",
            detail,
        )
        line.rstrip()
        if not message.is_event:
            line.stylize("dim")
        return line

    def _label(self, message: WireMessage) -> tuple[str, str]:
        """Returns the kind of the message, indented inside a saga, and its style."""
        body = message.body
        match message.announcement:
            case None:
                indent = "    " if message.headers.get(Header.SAGA_ID) else ""
                is_failure = message.kind == "command.rejected" or message.kind.endswith("-failed")
                style = "red" if is_failure else "bold yellow" if message.kind == "prompt.raised" else ""
                return f"{indent}{'' if message.is_event else '→ '}{message.kind}", style
            case "step":
                # Sequence 0 is the start; waiting and signalled announcements are no steps.
                done = int(body.get("sequence", 0)) - self.other_announcements.get(message.identity, 0)
                progress = f"{done}/{self.steps.get(message.identity, '?')}"
                return f"  ✓ {progress} {body.get('step')}", "green"
            case "started":
                self.steps[message.identity] = len(body.get("steps", ()))
            case "waiting" | "signalled":
                self.other_announcements[message.identity] = self.other_announcements.get(message.identity, 0) + 1
            case _ if message.is_end:
                self.steps.pop(message.identity, None)
                self.other_announcements.pop(message.identity, None)
            case _:
                pass
        mark, style = _MARKS.get(message.announcement, ("·", ""))
        indent = "" if message.is_end or message.announcement == "started" else "  "
        return f"{indent}{mark} {message.kind}", style

    async def look_up_steps(self, js: JetStreamContext, message: WireMessage) -> None:
        """Looks up the number of steps of a saga that began before this process watched."""
        if message.announcement == "step" and message.identity not in self.steps:
            started = await last_event(js, f"keys.events.saga.*.started.{message.identity}")
            self.steps[message.identity] = len(started.body.get("steps", ())) if started else 0
