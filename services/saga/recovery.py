"""``python -m services.saga rebuild [--check] [SAGA_ID …]``: rebuilds entries of KEYS_SAGAS from the log.

Run it with every coordinator stopped. Entries that can be read are left alone, unless their saga is named. `--check`
writes nothing, and prints the differences between each entry and the log.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from pydantic_core import from_json

from services.saga import store
from services.saga.core.definition import AnyDefinition
from services.saga.core.rebuild import NotRebuildable, differences, rebuild
from services.saga.core.replay import LoggedEvent
from services.saga.core.state import Origin, Saga
from services.saga.outbox import FINAL_EVENTS, SERVICE
from services.saga.store import SagaStore, StoredSaga
from shared.contracts.base import Event
from shared.contracts.registry import MESSAGES
from shared.contracts.rejection import CommandRepeated
from shared.contracts.saga.protocol import Announcement, SagaCompensating, SagaStarted, SagaWithdrawing
from shared.errors import Poison, Unusable
from shared.messages.catalog import LOG, catalog
from shared.messages.envelope import decode_event
from shared.messages.headers import Header, Lineage, SagaContext
from shared.messages.ids import derive_id
from shared.nats.connection import ANONYMOUS, Access
from shared.nats.kv import KeyValue, read_until_end
from shared.nats.ordered_consumer import ordered_subscribe
from shared.nats.streams import declare

_BUCKET = "KEYS_SAGAS"
_CONSUMERS = ("saga", "saga-events", "saga-timers")


@dataclass(frozen=True, slots=True)
class _Started:
    lineage: Lineage
    event: SagaStarted


@dataclass(frozen=True, slots=True)
class RebuiltSaga:
    definition: AnyDefinition
    saga: Saga[Any]


class SagaLog:
    """The events of each saga, from the log. The end of a child saga is also in the log of its parent."""

    def __init__(self, definitions: Iterable[AnyDefinition]) -> None:
        self._event_types: dict[str, type[Event]] = {k: v for k, v in MESSAGES.items() if issubclass(v, Event)}
        for definition in definitions:
            self._event_types |= definition.event_types
        self._events: dict[str, list[LoggedEvent]] = defaultdict(list)
        self._started: dict[str, _Started] = {}
        self._parent_command_ids: dict[str, list[UUID]] = {}
        self.forbidden: set[str] = set()
        """Sagas that were withdrawn before they began."""

    async def read(self, js: JetStreamContext) -> None:
        """Reads the whole log; skips events that no saga caused, and those of other publishers."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        subscription = await ordered_subscribe(js, LOG, "keys.events.>", config)
        async with aclosing(read_until_end(subscription)) as messages:
            async for message in messages:
                if Header.SAGA_ID in (message.headers or {}):
                    self._add(message)

    def _add(self, message: Msg) -> None:
        try:
            lineage, event = decode_event(message, self._event_types)
        except Poison:
            return
        assert lineage.saga is not None
        logged = LoggedEvent(
            event_id=lineage.message_id,
            cause=lineage.causation_id,
            event=event,
            at=message.metadata.timestamp,
            step=lineage.saga.step,
        )
        self._events[lineage.saga.saga_id].append(logged)
        match event:
            case SagaStarted():
                self._started[event.saga_id] = _Started(lineage, event)
                self._parent_command_ids[event.saga_id] = [lineage.causation_id]
                self.forbidden.discard(event.saga_id)
            case SagaCompensating(code="withdrawn") | SagaWithdrawing():
                self._parent_command_ids.get(event.saga_id, []).append(lineage.causation_id)
            case CommandRepeated(command_type="WithdrawSaga", aggregate_id=str(saga_id)):
                self.forbidden |= {saga_id} - self._started.keys()
            case _:
                pass
        if isinstance(event, FINAL_EVENTS) and isinstance(event, Announcement):
            self._add_to_parent(event, logged)

    def _add_to_parent(self, end: Announcement, logged: LoggedEvent) -> None:
        """Does what `outbox.messages_to_parent` does: the log does not have those messages."""
        started = self._started.get(end.saga_id)
        if started is None or started.event.parent is None:
            return
        parent = started.event.parent
        for command_id in self._parent_command_ids[end.saga_id]:
            outcome = LoggedEvent(
                event_id=derive_id(logged.event_id, f"to-parent/{command_id}"),
                cause=command_id,
                event=end,
                at=logged.at,
                step=parent.step,
            )
            self._events[parent.saga_id].append(outcome)

    def saga_ids(self) -> list[str]:
        return [*self._started]

    def rebuild(self, saga_id: str, definitions: Mapping[str, AnyDefinition]) -> RebuiltSaga:
        """Raises NotRebuildable."""
        if saga_id not in self._started:
            raise NotRebuildable("the log has no saga of that id")
        lineage, started = self._started[saga_id].lineage, self._started[saga_id].event
        definition = definitions.get(f"{started.saga_type}/{started.definition_version}")
        if definition is None:
            raise NotRebuildable(f"it runs on version {started.definition_version}, which is not defined here")
        parent = started.parent
        origin = Origin(
            command_id=lineage.causation_id,
            correlation_id=lineage.correlation_id,
            actor=lineage.actor,
            trace=lineage.trace,
            triggered=started.triggered,
            at=started.began_at,
            parent=SagaContext(parent.saga_type, parent.saga_id, parent.step) if parent else None,
        )
        return RebuiltSaga(definition, rebuild(definition, origin, self._events[saga_id]))


class Recovery:
    """Rebuilds lost and damaged entries, or compares all entries with the log."""

    def __init__(self, js: JetStreamContext, definitions: Iterable[AnyDefinition]) -> None:
        self._js = js
        self._bucket = KeyValue(js, _BUCKET)
        self._definitions = {f"{each.saga_type}/{each.version}": each for each in definitions}
        self._store = SagaStore(self._bucket, self._definitions)

    async def run(self, saga_ids: Iterable[str], *, check: bool) -> list[str]:
        """Returns a report, line by line. Raises Unusable while a coordinator runs."""
        if not check:
            await self._require_no_coordinator()
        log, named = SagaLog(self._definitions.values()), [*saga_ids]
        await log.read(self._js)
        lines = []
        for saga_id in named or log.saga_ids():
            try:
                rebuilt = log.rebuild(saga_id, self._definitions)
            except NotRebuildable as error:
                lines.append(f"{saga_id}: cannot be rebuilt: {error}")
            else:
                lines += await self._recover_one(rebuilt, named=bool(named), check=check)
        if not named and not check:
            for saga_id in log.forbidden:
                await self._store.forbid(saga_id)
        return lines

    async def _recover_one(self, rebuilt: RebuiltSaga, *, named: bool, check: bool) -> list[str]:
        definition, saga = rebuilt.definition, rebuilt.saga
        document, name = await self._bucket.get(f"*.{saga.saga_id}"), f"{saga.saga_type} {saga.saga_id}"
        readable = _decode_or_none(definition, document.value) if document else None
        if readable is not None and check:
            return [f"{name}: {line}" for line in differences(readable, saga)]
        if readable is not None and not named:
            return []
        condition = "is lost" if document is None else "is damaged" if readable is None else "is there"
        if check:
            return [f"{name}: its entry {condition}; by the log it is {saga.phase}"]
        await self._store.save(StoredSaga(definition, saga, document.revision if document else 0), saga)
        return [f"{name}: its entry {condition}; rebuilt, {saga.phase}"]

    async def _require_no_coordinator(self) -> None:
        for durable in _CONSUMERS:
            if await self._is_pulled(durable):
                raise Unusable(f"a coordinator reads {durable}: stop every one of them first, or only --check")

    async def _is_pulled(self, durable: str) -> bool:
        try:
            return bool((await self._js.consumer_info(catalog().consumers[durable].stream, durable)).num_waiting)
        except NotFoundError:
            return False


def _decode_or_none(definition: AnyDefinition, value: bytes) -> Saga[Any] | None:
    try:
        return store.decode_entry(definition, from_json(value))
    except (ValueError, LookupError, TypeError):
        return None


async def recover(
    url: str, definitions: Iterable[AnyDefinition], arguments: list[str], access: Access = ANONYMOUS
) -> list[str]:
    """Runs the command; returns its report, line by line. Raises Unusable."""
    parsed = _parse(arguments)
    client = await access.connect(url, SERVICE)
    try:
        if not parsed.check:
            await declare(client, SERVICE if access.is_authenticated else None)
        return await Recovery(client.jetstream(), definitions).run(parsed.saga_id, check=parsed.check)
    finally:
        await client.close()


def _parse(arguments: list[str]) -> argparse.Namespace:
    description = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m services.saga rebuild", description=description)
    parser.add_argument("--check", action="store_true", help="write nothing, print what would be done")
    parser.add_argument("saga_id", nargs="*", help="default: all whose entries are lost or damaged")
    return parser.parse_args(arguments)
