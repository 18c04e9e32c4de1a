"""What a command of deploy asks of the running suite: that a saga ends, and what the log says last."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contracts.rejection import RejectionCode
from shared.messages.catalog import LOG
from shared.messages.headers import Header, NatsHeader
from shared.messages.ids import new_id
from shared.messages.subjects import saga_announcement_of

PATIENCE = 60.0
_EXISTS_ALREADY = RejectionCode.CONFLICT
_ENDS = ("completed", "compensated", "failed")


class NotCompleted(Exception):
    """The message says what was not done and why, in one line."""


@dataclass(frozen=True, slots=True)
class Ended:
    how: str
    body: dict[str, Any]

    @property
    def well(self) -> bool:
        return self.how == "completed"


async def last(js: JetStreamContext, subject: str) -> dict[str, Any] | None:
    """The last event on *subject*."""
    try:
        found: dict[str, Any] = json.loads((await js.get_msg(LOG, subject=subject)).data or b"{}")
    except NotFoundError:
        return None
    return found


async def end_of(js: JetStreamContext, saga_type: str, saga_id: str) -> Ended | None:
    """None: it has not ended, or never began."""
    try:
        told = await js.get_msg(LOG, subject=f"keys.events.saga.{saga_type}.*.{saga_id}")
    except NotFoundError:
        return None
    how = saga_announcement_of(told.subject or "")
    return Ended(how, json.loads(told.data or b"{}")) if how in _ENDS else None


async def completed(js: JetStreamContext, saga_type: str, saga_id: str, **request: Any) -> dict[str, Any]:
    """What the saga ends with; it is started, unless it was already. Raises NotCompleted, TimeoutError.

    One that was started with another request, by somebody else or by a run that broke off, is waited for as well.
    """
    command_id = await command(js, f"saga.{saga_type}.start", {**request, "saga_id": saga_id})
    async with asyncio.timeout(PATIENCE):
        while (end := await end_of(js, saga_type, saga_id)) is None:
            await require_not_refused(js, command_id, but_for=_EXISTS_ALREADY)
            await asyncio.sleep(0.05)
    if not end.well:
        raise NotCompleted(f"{saga_type} was undone: {end.body.get('reason')}")
    return end.body


async def command(js: JetStreamContext, name: str, body: dict[str, Any]) -> str:
    """Have it done; returns by what id it may be refused."""
    command_id = str(new_id())
    headers = {NatsHeader.MSG_ID: command_id, Header.COMMAND_ID: command_id}
    await js.publish(f"keys.commands.{name}", json.dumps(body).encode(), headers=headers)
    return command_id


async def require_not_refused(js: JetStreamContext, command_id: str, but_for: str | None = None) -> None:
    """Raises NotCompleted with what was said, unless its code is *but_for*."""
    refused = await last(js, f"keys.events.command.rejected.{command_id}")
    if refused is not None and refused["code"] != but_for:
        raise NotCompleted(str(refused["message"]))
