"""An aggregate's events in KEYS_EVENTS: where it stands, without reading its history, and one more event if nobody else
was faster.

The history is never folded on the command path (55 ms an aggregate in a log of a million). What is known is a snapshot,
in memory or in KEYS_SNAPSHOTS; it may lag or be lost, because every append says which event it believes to be the
aggregate's last, and whoever is wrong reads the tail. Why, with figures: docs/adr/0004-event-store.md
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, RawStreamMsg
from nats.js.errors import APIError
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from shared.contracts.base import Event, UnknownSchemaVersion
from shared.errors import Conflict, Poison
from shared.messages.catalog import EVENTS, LOG
from shared.messages.envelope import encode_event
from shared.messages.headers import Header, Lineage, NatsHeader, event_lineage, schema_version
from shared.messages.subjects import Subject
from shared.nats.kv import WRONG_LAST_SEQUENCE, KeyValue, read_until_end
from shared.nats.ordered_consumer import ordered_subscribe
from shared.store.single_flight import SingleFlight

MAX_COMMAND_IDS = 256
"""How many of the commands it answered an aggregate remembers by id; older ones are looked up in the log."""
_CACHED = 20_000
_FLUSH_EVERY = 0.25
_GET = f"$JS.API.STREAM.MSG.GET.{LOG}"
_PATIENCE = 5.0
_NOT_FOUND = 404

State = TypeVar("State")
E = TypeVar("E", bound=Event)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[State]):
    """Where an aggregate stands: its state, the stream sequence of its last event (0: none), whom that answered."""

    state: State
    sequence: int = 0
    answered: tuple[str, ...] = ()

    def has_handled(self, command_id: UUID) -> bool:
        return str(command_id) in self.answered

    @property
    def has_all_command_ids(self) -> bool:
        """Whether no command it ever answered has been forgotten."""
        return len(self.answered) < MAX_COMMAND_IDS


class EventStore(Generic[State, E]):
    """The aggregates of one type. One instance a process: what it has seen, it remembers."""

    def __init__(
        self,
        js: JetStreamContext,
        aggregate_type: str,
        *,
        initial: State,
        evolve: Callable[[State, E], State],
        events: dict[str, type[E]],
        states: TypeAdapter[State],
        state_version: int,
    ) -> None:
        self._js = js
        self._type = aggregate_type
        self._initial = initial
        self._evolve = evolve
        self._events = events
        self._states = states
        self._version = state_version
        self._bucket = KeyValue(js, "KEYS_SNAPSHOTS")
        self._seen: OrderedDict[str, Versioned[State]] = OrderedDict()
        self._unsaved: set[str] = set()
        self._looking = SingleFlight(self._last_sequence)

    async def load(self, aggregate_id: str) -> Versioned[State]:
        """Where the aggregate stood when last seen: quick, and right unless another process wrote since."""
        if (seen := self._seen.get(aggregate_id)) is not None:
            self._seen.move_to_end(aggregate_id)
            return seen
        return self._remember(aggregate_id, await self._snapshot(aggregate_id))

    def presume_new(self, aggregate_id: str) -> Versioned[State]:
        """As `load`, without looking whether there was anything: if there was, the append conflicts."""
        return self._seen.get(aggregate_id, Versioned(self._initial))

    async def refresh(self, aggregate_id: str, standing: Versioned[State]) -> Versioned[State]:
        """Where the aggregate stands now: *standing* and all that was appended after it, read from the leader."""
        last = await self._looking.ask(aggregate_id)
        if not standing.sequence and last:
            standing = await self._snapshot(aggregate_id)
        if standing.sequence > last:  # a snapshot of what the log has lost (power cut, backup): the log is the truth
            log.error("%s.%s stood at %d; the log ends at %d", self._type, aggregate_id, standing.sequence, last)
            self._seen.pop(aggregate_id, None)
            standing = Versioned(self._initial)
        while standing.sequence < last:
            standing = self._fold(standing, await self._next(aggregate_id, standing.sequence + 1))
        return self._remember(aggregate_id, standing)

    async def append(self, standing: Versioned[State], event: E, lineage: Lineage, source: str) -> None:
        """Append *event*, caused by the command that *lineage* tells of. Raises Conflict if *standing* is stale."""
        sealed = encode_event(event, lineage.cause(type(event).__name__), source)
        pattern = self._pattern(event.identity)
        expectation = {
            NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE: str(standing.sequence),
            NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: pattern,
        }
        try:
            stored = await self._js.publish(sealed.subject, sealed.payload, headers=sealed.headers | expectation)
        except APIError as error:
            self._seen.pop(event.identity, None)
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(f"{pattern} has moved on from {standing.sequence}") from error
            raise
        except BaseException:
            self._seen.pop(event.identity, None)  # its outcome is unknown: look again before deciding again
            raise
        if stored.duplicate:
            self._seen.pop(event.identity, None)
            return
        after = Versioned(
            self._evolve(standing.state, event), stored.seq, _remembering(standing.answered, lineage.message_id)
        )
        self._remember(event.identity, after)
        self._unsaved.add(event.identity)

    async def handled_in_log(self, aggregate_id: str, command_id: UUID, since: datetime) -> bool:
        """Whether an event that *command_id* caused was stored after *since*: for what the standing has forgotten."""
        async with aclosing(await self._since(self._pattern(aggregate_id), since)) as events:
            async for message in events:
                if (message.headers or {}).get(Header.CAUSATION_ID) == str(command_id):
                    return True
        return False

    async def save_forever(self) -> None:
        """Write what changed to KEYS_SNAPSHOTS, a few times a second; nothing waits for it, and it may be lost."""
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            await self.save()

    async def save(self) -> None:
        unsaved, self._unsaved = self._unsaved, set()
        for aggregate_id in unsaved:
            if (standing := self._seen.get(aggregate_id)) is not None:
                try:
                    await self._save(aggregate_id, standing)
                except (nats.errors.Error, ValueError) as error:  # too large, or sent while there is no server
                    log.warning("snapshot %s.%s is not saved: %s", self._type, aggregate_id, error)

    async def _save(self, aggregate_id: str, standing: Versioned[State]) -> None:
        snapshot = {
            "version": self._version,
            "sequence": standing.sequence,
            "answered": standing.answered,
            "state": self._states.dump_python(standing.state, mode="json"),
        }
        await self._js._nc.publish(  # noqa: SLF001 - the one plain publish: a snapshot needs no acknowledgement
            f"$KV.KEYS_SNAPSHOTS.{self._type}.{aggregate_id}", to_json(snapshot)
        )

    def _pattern(self, aggregate_id: str) -> str:
        return str(EVENTS + Subject((self._type, "*", aggregate_id)))

    def _remember(self, aggregate_id: str, standing: Versioned[State]) -> Versioned[State]:
        seen = self._seen.get(aggregate_id)
        if seen is not None and seen.sequence > standing.sequence:
            return standing  # somebody else of this process has appended meanwhile
        self._seen[aggregate_id] = standing
        self._seen.move_to_end(aggregate_id)
        if len(self._seen) > _CACHED:
            self._seen.popitem(last=False)
        return standing

    async def _snapshot(self, aggregate_id: str) -> Versioned[State]:
        document = await self._bucket.get(f"{self._type}.{aggregate_id}")
        if document is not None:
            try:
                snapshot = from_json(document.value)
                if snapshot["version"] == self._version:
                    state = self._states.validate_json(to_json(snapshot["state"]))
                    return Versioned(state, int(snapshot["sequence"]), tuple(snapshot["answered"]))
            except (ValueError, KeyError, TypeError):
                log.warning("snapshot %s.%s is not readable; its log is read instead", self._type, aggregate_id)
        return Versioned(self._initial)

    async def _last_sequence(self, aggregate_id: str) -> int:
        """Found by the subject's index; asking for the next event instead would search the log to its end for none."""
        asked = to_json({"last_by_subj": self._pattern(aggregate_id)})
        told = from_json((await self._js._nc.request(_GET, asked, timeout=_PATIENCE)).data)  # noqa: SLF001 - get_msg decodes a whole message of which one number is wanted
        if "error" not in told:
            return int(told["message"]["seq"])
        if told["error"].get("code") == _NOT_FOUND:
            return 0
        raise APIError.from_error(told["error"])

    async def _next(self, aggregate_id: str, sequence: int) -> RawStreamMsg:
        return await self._js.get_msg(LOG, seq=sequence, subject=self._pattern(aggregate_id), next=True)

    def _fold(self, standing: Versioned[State], message: RawStreamMsg) -> Versioned[State]:
        """Raises Poison for an event that this version cannot read: what it does not know, it must not decide on."""
        where, headers = f"event {message.seq} ({message.subject})", message.headers or {}
        try:
            cause = event_lineage(headers).causation_id
        except Poison:
            log.warning("%s is none of the suite's and is passed over", where)
            return replace(standing, sequence=message.seq or 0)
        kind = self._events.get(headers.get(Header.EVENT_TYPE, ""))
        if kind is None:
            raise Poison(f"{where} is of a type that this version of the service does not know")
        try:
            event = kind.from_stored(message.data or b"", schema_version(headers))
        except ValueError as error:
            why = f": {error}" if isinstance(error, UnknownSchemaVersion) else ""
            raise Poison(f"{where} is not a {kind.__name__} that this version of the service can read{why}") from error
        return Versioned(self._evolve(standing.state, event), message.seq or 0, _remembering(standing.answered, cause))

    async def _since(self, pattern: str, since: datetime) -> AsyncGenerator[Msg]:
        start = since.isoformat().replace("+00:00", "Z")
        subscription = await ordered_subscribe(
            self._js,
            LOG,
            pattern,
            ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start),  # type: ignore[arg-type] # nats-py annotates an int and sends what it is given; the API takes RFC 3339
        )
        return read_until_end(subscription)


def _remembering(answered: tuple[str, ...], command_id: UUID) -> tuple[str, ...]:
    return (*answered, str(command_id))[-MAX_COMMAND_IDS:]
