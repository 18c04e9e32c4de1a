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
from services.console.formatting import aligned, format_clock, table
from shared.messages.headers import Header
from shared.nats.kv import KeyValue
from shared.store.dead_letters import BUCKET, DeadLetter, DeadLetters, summary

_COMMANDS = "keys.commands."
_PATIENCE = 60.0


async def list_dead_letters(client: Client) -> list[DeadLetter]:
    """All dead letters, oldest first."""
    return sorted([each async for each in _store(client).all()], key=lambda letter: letter.at)


async def find(client: Client, key: str) -> DeadLetter:
    """Raises Failure."""
    letter = await _store(client).find(key)
    if letter is None:
        raise Failure(Exit.NOT_DONE, f"there is no dead letter {key}; cim-keys dead-letters list shows those there are")
    return letter


async def drop(client: Client, letter: DeadLetter) -> None:
    await _store(client).drop(letter.key)


def as_new_command(letter: DeadLetter, actor: str) -> CommandRequest | None:
    """The command in the letter under a new id, since its own id has an outcome; None for an event.

    Raises Failure for a command of a saga: the saga has gone on without it.
    """
    if not letter.subject.startswith(_COMMANDS):
        return None
    if Header.SAGA_ID in letter.headers:
        saga_id = letter.headers[Header.SAGA_ID]
        raise Failure(Exit.NOT_DONE, f"a saga sent it: cim-keys send saga.retry --saga_id {saga_id} asks again")
    try:
        body = json.loads(base64.b64decode(letter.body))
    except ValueError as error:
        raise Failure(Exit.NOT_DONE, "its body is not JSON and can never be processed: drop it") from error
    return CommandRequest(name=letter.subject.removeprefix(_COMMANDS), body=body, actor=actor)


async def replay(client: Client, letter: DeadLetter) -> str | None:
    """Have the consumer that gave the event up process it again. Returns the problem, or None on success."""
    try:
        answer = await client.request(f"$KEYS.{letter.consumer}.hand-back", letter.key.encode(), timeout=_PATIENCE)
    except nats.errors.NoRespondersError as error:
        raise Failure(Exit.NO_OUTCOME, f"no process reads {letter.consumer}: start the service") from error
    outcome: dict[str, Any] = json.loads(answer.data)
    return None if outcome["processed"] else str(outcome["problem"])


def list_lines(letters: list[DeadLetter]) -> Iterator[Text]:
    rows = [(each.key, format_clock(each.at), each.subject, each.reason) for each in letters]
    return table(("LETTER", "AT", "SUBJECT", "REASON"), rows)


def detail_lines(letter: DeadLetter, *, body: bool) -> Iterator[str | Text]:
    """The letter without its body, which may contain a misplaced secret, unless *body* asks for it."""
    yield from aligned([(f"  {name}", str(value)) for name, value in summary(letter).items()])
    yield from aligned([(f"  {name}", value) for name, value in sorted(letter.headers.items())])
    if body:
        yield base64.b64decode(letter.body).decode(errors="replace")


def _store(client: Client) -> DeadLetters:
    return DeadLetters(KeyValue(client.jetstream(), BUCKET))
