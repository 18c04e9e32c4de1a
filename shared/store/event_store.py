"""Event store over KEYS_EVENTS: the state of an aggregate without replay, and append with optimistic concurrency.

The command path never replays the history (55 ms per aggregate in a log of a million). State comes from a snapshot, in
memory or in KEYS_SNAPSHOTS, which may lag or be lost: every append names the expected last sequence of the aggregate,
and a conflict makes the caller read the tail. Why, with figures: docs/adr/0004-event-store.md
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
"""Number of handled command ids in a snapshot; older ones are looked up in the log."""
_MAX_CACHED = 20_000
_FLUSH_INTERVAL_S = 0.25
_GET = f"$JS.API.STREAM.MSG.GET.{LOG}"
_TIMEOUT_S = 5.0
_NOT_FOUND = 404

State = TypeVar("State")
E = TypeVar("E", bound=Event)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[State]):
    """State of an aggregate, sequence of its last event (0: none), and ids of recently handled commands."""

    state: State
    sequence: int = 0
    command_ids: tuple[str, ...] = ()

    def has_handled(self, command_id: UUID) -> bool:
        return str(command_id) in self.command_ids

    @property
    def has_all_command_ids(self) -> bool:
        """True if no id of a handled command was dropped yet."""
        return len(self.command_ids) < MAX_COMMAND_IDS


class EventStore(Generic[State, E]):
    """Event store of one aggregate type, with a cache: one instance per process."""

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
        self._cache: OrderedDict[str, Versioned[State]] = OrderedDict()
        self._unsaved: set[str] = set()
        self._last_sequences = SingleFlight(self._last_sequence)

    async def load(self, aggregate_id: str) -> Versioned[State]:
        """Loads the cached state, or the snapshot: current unless another process has appended since."""
        if (cached := self._cache.get(aggregate_id)) is not None:
            self._cache.move_to_end(aggregate_id)
            return cached
        return self._put_in_cache(aggregate_id, await self._snapshot(aggregate_id))

    def presume_new(self, aggregate_id: str) -> Versioned[State]:
        """Returns the cached or initial state without a read: if the aggregate exists, the append conflicts."""
        return self._cache.get(aggregate_id, Versioned(self._initial))

    async def refresh(self, aggregate_id: str, versioned: Versioned[State]) -> Versioned[State]:
        """Brings *versioned* up to date with the tail of the log, read from the leader."""
        last = await self._last_sequences.get(aggregate_id)
        if not versioned.sequence and last:
            versioned = await self._snapshot(aggregate_id)
        # After a power cut or a restored backup the log can lack events of the snapshot: the log is authoritative.
        if versioned.sequence > last:
            log.error(
                "snapshot %s.%s is ahead of the log: %d, not %d", self._type, aggregate_id, versioned.sequence, last
            )
            self._cache.pop(aggregate_id, None)
            versioned = Versioned(self._initial)
        while versioned.sequence < last:
            versioned = self._fold(versioned, await self._next(aggregate_id, versioned.sequence + 1))
        return self._put_in_cache(aggregate_id, versioned)

    async def append(self, versioned: Versioned[State], event: E, lineage: Lineage, source: str) -> None:
        """Appends *event*, caused by the command of *lineage*. Raises Conflict if *versioned* is stale."""
        outgoing = encode_event(event, lineage.cause(type(event).__name__), source)
        pattern = self._pattern(event.identity)
        expectation = {
            NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE: str(versioned.sequence),
            NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: pattern,
        }
        try:
            stored = await self._js.publish(outgoing.subject, outgoing.payload, headers=outgoing.headers | expectation)
        except APIError as error:
            self._cache.pop(event.identity, None)
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(f"{pattern} is no longer at sequence {versioned.sequence}") from error
            raise
        except BaseException:
            self._cache.pop(event.identity, None)  # the outcome is unknown: read again before the next decision
            raise
        if stored.duplicate:
            self._cache.pop(event.identity, None)
            return
        after = Versioned(
            self._evolve(versioned.state, event),
            stored.seq,
            _with_command_id(versioned.command_ids, lineage.message_id),
        )
        self._put_in_cache(event.identity, after)
        self._unsaved.add(event.identity)

    async def handled_in_log(self, aggregate_id: str, command_id: UUID, since: datetime) -> bool:
        """Searches the log after *since* for an event caused by *command_id*, whose id `Versioned` no longer has."""
        async with aclosing(await self._since(self._pattern(aggregate_id), since)) as events:
            async for message in events:
                if (message.headers or {}).get(Header.CAUSATION_ID) == str(command_id):
                    return True
        return False

    async def save_forever(self, interval_s: float = _FLUSH_INTERVAL_S) -> None:
        """Writes changed snapshots to KEYS_SNAPSHOTS a few times a second; nothing waits for it, and it may be lost."""
        while True:
            await asyncio.sleep(interval_s)
            await self.save()

    async def save(self) -> None:
        unsaved, self._unsaved = self._unsaved, set()
        for aggregate_id in unsaved:
            if (versioned := self._cache.get(aggregate_id)) is not None:
                try:
                    await self._save(aggregate_id, versioned)
                except (nats.errors.Error, ValueError) as error:  # too large, or no connection
                    log.warning("snapshot %s.%s is not saved: %s", self._type, aggregate_id, error)

    async def _save(self, aggregate_id: str, versioned: Versioned[State]) -> None:
        snapshot = {
            "version": self._version,
            "sequence": versioned.sequence,
            "answered": versioned.command_ids,
            "state": self._states.dump_python(versioned.state, mode="json"),
        }
        await self._js._nc.publish(  # noqa: SLF001 - the one plain publish: a snapshot needs no acknowledgement
            f"$KV.KEYS_SNAPSHOTS.{self._type}.{aggregate_id}", to_json(snapshot)
        )

    def _pattern(self, aggregate_id: str) -> str:
        return str(EVENTS + Subject((self._type, "*", aggregate_id)))

    def _put_in_cache(self, aggregate_id: str, versioned: Versioned[State]) -> Versioned[State]:
        cached = self._cache.get(aggregate_id)
        if cached is not None and cached.sequence > versioned.sequence:
            return versioned  # another task of this process has appended since
        self._cache[aggregate_id] = versioned
        self._cache.move_to_end(aggregate_id)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return versioned

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
        """Looks up the last sequence by the index of subjects; a search for the next event may scan the whole log."""
        request = to_json({"last_by_subj": self._pattern(aggregate_id)})
        reply = from_json((await self._js._nc.request(_GET, request, timeout=_TIMEOUT_S)).data)  # noqa: SLF001 - get_msg decodes a whole message for one number
        if "error" not in reply:
            return int(reply["message"]["seq"])
        if reply["error"].get("code") == _NOT_FOUND:
            return 0
        raise APIError.from_error(reply["error"])

    async def _next(self, aggregate_id: str, sequence: int) -> RawStreamMsg:
        return await self._js.get_msg(LOG, seq=sequence, subject=self._pattern(aggregate_id), next=True)

    def _fold(self, versioned: Versioned[State], message: RawStreamMsg) -> Versioned[State]:
        """Applies one stored event. Raises Poison if this release cannot decode it: a decision needs all events."""
        where, headers = f"event {message.seq} ({message.subject})", message.headers or {}
        try:
            cause = event_lineage(headers).causation_id
        except Poison:
            log.warning("skipped %s: it is not an event of the suite", where)
            return replace(versioned, sequence=message.seq or 0)
        kind = self._events.get(headers.get(Header.EVENT_TYPE, ""))
        if kind is None:
            raise Poison(f"{where} is of a type that this version of the service does not support")
        try:
            event = kind.from_stored(message.data or b"", schema_version(headers))
        except ValueError as error:
            why = f": {error}" if isinstance(error, UnknownSchemaVersion) else ""
            raise Poison(f"{where} is not a {kind.__name__} that this version of the service can read{why}") from error
        return Versioned(
            self._evolve(versioned.state, event), message.seq or 0, _with_command_id(versioned.command_ids, cause)
        )

    async def _since(self, pattern: str, since: datetime) -> AsyncGenerator[Msg]:
        start = since.isoformat().replace("+00:00", "Z")
        subscription = await ordered_subscribe(
            self._js,
            LOG,
            pattern,
            ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start),  # type: ignore[arg-type] # nats-py annotates an int and sends what it is given; the API takes RFC 3339
        )
        return read_until_end(subscription)


def _with_command_id(command_ids: tuple[str, ...], command_id: UUID) -> tuple[str, ...]:
    return (*command_ids, str(command_id))[-MAX_COMMAND_IDS:]
