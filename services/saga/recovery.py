"""``python -m services.saga rebuild [--check] [SAGA_ID …]``: entries of KEYS_SAGAS made again from the log.

With the coordinators stopped. An entry that can be read is left alone, unless it is named; `--check` writes nothing,
and says in what each would go on differently by the log.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import aclosing
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
from services.saga.core.replay import Logged
from services.saga.core.state import Origin, Saga
from services.saga.outbox import ENDINGS, SERVICE
from services.saga.store import SagaStore
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
_READERS = ("saga", "saga-events", "saga-timers")


class SagaLog:
    """What the log has of each saga. A saga that another began is in the log of that one with how it ended."""

    def __init__(self, definitions: Iterable[AnyDefinition]) -> None:
        self._language: dict[str, type[Event]] = {k: v for k, v in MESSAGES.items() if issubclass(v, Event)}
        for definition in definitions:
            self._language |= definition.words
        self._logged: dict[str, list[Logged]] = defaultdict(list)
        self._started: dict[str, tuple[Lineage, SagaStarted]] = {}
        self._asked_by_parent: dict[str, list[UUID]] = {}
        self.withdrawn_unbegun: set[str] = set()

    async def read(self, js: JetStreamContext) -> None:
        """All of it. Events that no saga asked for are passed over, and so is what is not the suite's."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        subscription = await ordered_subscribe(js, LOG, "keys.events.>", config)
        async with aclosing(read_until_end(subscription)) as messages:
            async for message in messages:
                if Header.SAGA_ID in (message.headers or {}):
                    self._hear(message)

    def _hear(self, message: Msg) -> None:
        try:
            lineage, event = decode_event(message, self._language)
        except Poison:
            return
        assert lineage.saga is not None
        logged = Logged(lineage.message_id, lineage.causation_id, event, message.metadata.timestamp, lineage.saga.step)
        self._logged[lineage.saga.saga_id].append(logged)
        match event:
            case SagaStarted():
                self._started[event.saga_id] = lineage, event
                self._asked_by_parent[event.saga_id] = [lineage.causation_id]
                self.withdrawn_unbegun.discard(event.saga_id)
            case SagaCompensating(code="withdrawn") | SagaWithdrawing():
                self._asked_by_parent.get(event.saga_id, []).append(lineage.causation_id)
            case CommandRepeated(command_type="WithdrawSaga", aggregate_id=str(unbegun)):
                self.withdrawn_unbegun |= {unbegun} - self._started.keys()
            case _:
                pass
        if isinstance(event, ENDINGS) and isinstance(event, Announcement):
            self._tell_parent(event, logged)

    def _tell_parent(self, end: Announcement, logged: Logged) -> None:
        """As `outgoing.told_to_parent` does; that message is on no stream that keeps it."""
        _, started = self._started.get(end.saga_id, (None, None))
        if started is None or started.parent is None:
            return
        for command_id in self._asked_by_parent[end.saga_id]:
            answer_id = derive_id(logged.event_id, f"to-parent/{command_id}")
            told = Logged(answer_id, command_id, end, logged.at, started.parent.step)
            self._logged[started.parent.saga_id].append(told)

    def sagas(self) -> list[str]:
        return [*self._started]

    def rebuild(self, saga_id: str, definitions: Mapping[str, AnyDefinition]) -> tuple[AnyDefinition, Saga[Any]]:
        """Raises NotRebuildable."""
        if saga_id not in self._started:
            raise NotRebuildable("the log has no saga of that id")
        lineage, started = self._started[saga_id]
        definition = definitions.get(f"{started.saga_type}/{started.definition_version}")
        if definition is None:
            raise NotRebuildable(f"it runs on version {started.definition_version}, which is not defined here")
        parent = started.parent
        origin = Origin(
            lineage.causation_id,
            lineage.correlation_id,
            lineage.actor,
            lineage.trace,
            triggered=started.triggered,
            at=started.began_at,
            parent=SagaContext(parent.saga_type, parent.saga_id, parent.step) if parent else None,
        )
        return definition, rebuild(definition, origin, self._logged[saga_id])


class Recovery:
    def __init__(self, js: JetStreamContext, definitions: Iterable[AnyDefinition]) -> None:
        self._js = js
        self._bucket = KeyValue(js, _BUCKET)
        self._definitions = {f"{each.saga_type}/{each.version}": each for each in definitions}
        self._store = SagaStore(self._bucket, self._definitions)

    async def run(self, named: Iterable[str], *, check: bool) -> list[str]:
        """What was done, or would be, line by line. Raises Unusable while a coordinator runs."""
        if not check:
            await self._require_nobody_else()
        log, named = SagaLog(self._definitions.values()), [*named]
        await log.read(self._js)
        lines = []
        for saga_id in named or log.sagas():
            try:
                definition, saga = log.rebuild(saga_id, self._definitions)
            except NotRebuildable as error:
                lines.append(f"{saga_id}: cannot be made again: {error}")
            else:
                lines += await self._saga(definition, saga, named=bool(named), check=check)
        if not named and not check:
            for saga_id in log.withdrawn_unbegun:
                await self._store.forbid(saga_id)
        return lines

    async def _saga(self, definition: AnyDefinition, saga: Saga[Any], *, named: bool, check: bool) -> list[str]:
        document, about = await self._bucket.get(f"*.{saga.saga_id}"), f"{saga.saga_type} {saga.saga_id}"
        found = _readable(definition, document.value) if document else None
        if found is not None and check:
            return [f"{about}: {line}" for line in differences(found, saga)]
        if found is not None and not named:
            return []
        said = "is lost" if document is None else "is damaged" if found is None else "is there"
        if check:
            return [f"{about}: its entry {said}; by the log it is {saga.phase}"]
        await self._store.save(store.Found(definition, saga, document.revision if document else 0), saga)
        return [f"{about}: its entry {said}; made again, {saga.phase}"]

    async def _require_nobody_else(self) -> None:
        for durable in _READERS:
            if await self._is_read(durable):
                raise Unusable(f"a coordinator reads {durable}: stop every one of them first, or only --check")

    async def _is_read(self, durable: str) -> bool:
        try:
            return bool((await self._js.consumer_info(catalog().consumers[durable].stream, durable)).num_waiting)
        except NotFoundError:
            return False


def _readable(definition: AnyDefinition, value: bytes) -> Saga[Any] | None:
    try:
        return store.read(definition, from_json(value))
    except (ValueError, LookupError, TypeError):
        return None


async def recover(
    url: str, definitions: Iterable[AnyDefinition], words: list[str], access: Access = ANONYMOUS
) -> list[str]:
    """What was done, line by line. Raises Unusable."""
    wanted = _arguments(words)
    client = await access.connect(url, SERVICE)
    try:
        if not wanted.check:
            await declare(client, SERVICE if access.is_authenticated else None)
        return await Recovery(client.jetstream(), definitions).run(wanted.saga_id, check=wanted.check)
    finally:
        await client.close()


def _arguments(words: list[str]) -> argparse.Namespace:
    said = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m services.saga rebuild", description=said)
    parser.add_argument("--check", action="store_true", help="write nothing, say what would be")
    parser.add_argument("saga_id", nargs="*", help="default: all whose entries are lost or damaged")
    return parser.parse_args(words)
