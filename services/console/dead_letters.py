"""Dead letters: what could not be processed. Listed, shown, handed back to who gave it up, or dropped."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import nats.errors
from nats.aio.client import Client

from services.console.client import Ask, Exit, Failure
from services.console.formatting import clock, columns
from shared.messages.headers import Header
from shared.nats.kv import KeyValue
from shared.store.dead_letters import BUCKET, DeadLetter, DeadLetters, summary

_COMMANDS = "keys.commands."
_PATIENCE = 60.0


async def listed(client: Client) -> list[DeadLetter]:
    """Every letter, oldest first."""
    return sorted([each async for each in _letters(client).all()], key=lambda letter: letter.at)


async def find(client: Client, key: str) -> DeadLetter:
    """Raises Failure."""
    letter = await _letters(client).find(key)
    if letter is None:
        raise Failure(Exit.NOT_DONE, f"there is no dead letter {key}; cim-keys dead-letters list shows those there are")
    return letter


async def drop(client: Client, letter: DeadLetter) -> None:
    await _letters(client).drop(letter.key)


def asked_again(letter: DeadLetter, actor: str) -> Ask | None:
    """The command in the letter, as somebody asks it anew: it has its answer, under its own id. None: it is no command.

    Raises Failure for a saga's: that has gone on without it.
    """
    if not letter.subject.startswith(_COMMANDS):
        return None
    if Header.SAGA_ID in letter.headers:
        saga_id = letter.headers[Header.SAGA_ID]
        raise Failure(Exit.NOT_DONE, f"a saga asked it: cim-keys send saga.retry --saga_id {saga_id} asks again")
    try:
        body = json.loads(base64.b64decode(letter.body))
    except ValueError as error:
        raise Failure(Exit.NOT_DONE, "its body is no JSON: it will never be processed; drop it") from error
    return Ask(letter.subject.removeprefix(_COMMANDS), body, actor)


async def hand_back(client: Client, letter: DeadLetter) -> str | None:
    """Have an event processed by the consumer that gave it up. What stood in the way; None: it was processed."""
    try:
        answer = await client.request(f"$KEYS.{letter.consumer}.hand-back", letter.key.encode(), timeout=_PATIENCE)
    except nats.errors.NoRespondersError as error:
        raise Failure(Exit.NO_OUTCOME, f"nobody reads {letter.consumer}: start the service") from error
    outcome: dict[str, Any] = json.loads(answer.data)
    return None if outcome["processed"] else str(outcome["problem"])


def table(letters: list[DeadLetter]) -> Iterator[str]:
    rows = [("LETTER", "AT", "SUBJECT", "REASON")]
    rows += [(each.key, clock(each.at), each.subject, each.reason) for each in letters]
    return columns(rows)


def at_length(letter: DeadLetter, *, body: bool) -> Iterator[str]:
    """All but the body, which may be a secret in the wrong place; with it, if it is asked for."""
    yield from columns([(f"  {name}", str(value)) for name, value in summary(letter).items()])
    yield from columns([(f"  {name}", value) for name, value in sorted(letter.headers.items())])
    if body:
        yield base64.b64decode(letter.body).decode(errors="replace")


def _letters(client: Client) -> DeadLetters:
    return DeadLetters(KeyValue(client.jetstream(), BUCKET))
