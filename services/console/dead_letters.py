"""Dead letters: list, show, replay, drop."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import nats.errors
from nats.aio.client import Client
from rich.text import Text

from services.console.client import CommandRequest, Exit, Failure
from services.console.formatting import align, format_clock, table
from shared.messages.headers import Header
from shared.nats.kv import KeyValue
from shared.store.dead_letters import BUCKET, DeadLetter, DeadLetters, summary

_COMMANDS = "keys.commands."
_REPLAY_TIMEOUT_S = 60.0


async def list_dead_letters(client: Client) -> list[DeadLetter]:
    """Returns all dead letters, oldest first."""
    return sorted([stored async for stored in _store(client).all()], key=lambda stored: stored.at)


async def find(client: Client, key: str) -> DeadLetter:
    """Returns the dead letter of that key. Raises Failure if there is none."""
    dead_letter = await _store(client).find(key)
    if dead_letter is None:
        raise Failure(Exit.NOT_DONE, f"there is no dead letter {key}; cim-keys dead-letters list shows those there are")
    return dead_letter


async def drop(client: Client, dead_letter: DeadLetter) -> None:
    await _store(client).drop(dead_letter.key)


def as_new_command(dead_letter: DeadLetter, actor: str) -> CommandRequest | None:
    """Returns the command under a new id, because its own id has an outcome; None for an event.

    Raises Failure for a command of a saga: the saga has gone on without it.
    """
    if not dead_letter.subject.startswith(_COMMANDS):
        return None
    if Header.SAGA_ID in dead_letter.headers:
        saga_id = dead_letter.headers[Header.SAGA_ID]
        raise Failure(
            Exit.NOT_DONE, f"a saga sent it: type cim-keys send saga.retry --saga-id {saga_id}, which sends it again"
        )
    try:
        body = json.loads(base64.b64decode(dead_letter.body))
    except ValueError as error:
        raise Failure(Exit.NOT_DONE, "its body is not JSON and can never be processed: drop it") from error
    return CommandRequest(name=dead_letter.subject.removeprefix(_COMMANDS), body=body, actor=actor)


async def replay(client: Client, dead_letter: DeadLetter) -> str | None:
    """Requests that the event's consumer process it again. Returns the problem, or None on success."""
    try:
        reply = await client.request(
            f"$KEYS.{dead_letter.consumer}.hand-back", dead_letter.key.encode(), timeout=_REPLAY_TIMEOUT_S
        )
    except nats.errors.NoRespondersError as error:
        raise Failure(Exit.NO_OUTCOME, f"no process reads {dead_letter.consumer}: start the service") from error
    outcome: dict[str, Any] = json.loads(reply.data)
    return None if outcome["processed"] else str(outcome["problem"])


def list_lines(dead_letters: list[DeadLetter]) -> Iterator[Text]:
    rows = [(stored.key, format_clock(stored.at), stored.subject, stored.reason) for stored in dead_letters]
    return table(("KEY", "AT", "SUBJECT", "REASON"), rows)


def detail_lines(dead_letter: DeadLetter, *, body: bool) -> Iterator[str | Text]:
    """Formats a dead letter. Its body, which may contain a misplaced secret, is added only with *body*."""
    yield from align([(f"  {name}", str(value)) for name, value in summary(dead_letter).items()])
    yield from align([(f"  {name}", value) for name, value in sorted(dead_letter.headers.items())])
    if body:
        yield base64.b64decode(dead_letter.body).decode(errors="replace")


def _store(client: Client) -> DeadLetters:
    return DeadLetters(KeyValue(client.jetstream(), BUCKET))
