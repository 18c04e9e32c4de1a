"""A client of the running suite: starts sagas, sends commands, and reads their outcomes from the log."""

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

TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.05
_ALREADY_STARTED = RejectionCode.CONFLICT
_TERMINAL_ANNOUNCEMENTS = ("completed", "compensated", "failed")


class CommandFailed(Exception):
    """A rejected command or a saga that did not complete; the message names the reason in one line."""


@dataclass(frozen=True, slots=True)
class SagaResult:
    """The final announcement of a saga and its body."""

    announcement: str
    body: dict[str, Any]

    @property
    def is_completed(self) -> bool:
        return self.announcement == "completed"


async def last_event(js: JetStreamContext, subject: str) -> dict[str, Any] | None:
    """Returns the body of the last event on *subject*."""
    try:
        body: dict[str, Any] = json.loads((await js.get_msg(LOG, subject=subject)).data or b"{}")
    except NotFoundError:
        return None
    return body


async def result_of(js: JetStreamContext, saga_type: str, saga_id: str) -> SagaResult | None:
    """Returns the result of a finished saga; None if it is unfinished or was never started."""
    try:
        message = await js.get_msg(LOG, subject=f"keys.events.saga.{saga_type}.*.{saga_id}")
    except NotFoundError:
        return None
    announcement = saga_announcement_of(message.subject or "")
    if announcement not in _TERMINAL_ANNOUNCEMENTS:
        return None
    return SagaResult(announcement, json.loads(message.data or b"{}"))


async def run_saga(js: JetStreamContext, saga_type: str, saga_id: str, **request: Any) -> dict[str, Any]:
    """Starts a saga and returns the body of `completed`. Raises CommandFailed, TimeoutError.

    If a saga with this id exists, it waits for that one, even if it was started with another request.
    """
    command_id = await send_command(js, f"saga.{saga_type}.start", {**request, "saga_id": saga_id})
    async with asyncio.timeout(TIMEOUT_S):
        while (result := await result_of(js, saga_type, saga_id)) is None:
            await require_not_rejected(js, command_id, except_code=_ALREADY_STARTED)
            await asyncio.sleep(POLL_INTERVAL_S)
    if not result.is_completed:
        raise CommandFailed(f"{saga_type} was rolled back: {result.body.get('reason')}")
    return result.body


async def send_command(js: JetStreamContext, name: str, body: dict[str, Any]) -> str:
    """Publishes a command and returns its id, under which a rejection is stored."""
    command_id = str(new_id())
    headers = {NatsHeader.MSG_ID: command_id, Header.COMMAND_ID: command_id}
    await js.publish(f"keys.commands.{name}", json.dumps(body).encode(), headers=headers)
    return command_id


async def require_not_rejected(js: JetStreamContext, command_id: str, except_code: str | None = None) -> None:
    """Raises CommandFailed if the command was rejected with a code other than *except_code*."""
    rejection = await last_event(js, f"keys.events.command.rejected.{command_id}")
    if rejection is not None and rejection["code"] != except_code:
        raise CommandFailed(str(rejection["message"]))
