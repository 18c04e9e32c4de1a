"""Sagas that an event starts, and when. Pure: a redelivered event leads to the same saga ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from services.saga.core.definition import AnyDefinition, Trigger
from shared.contracts.base import Event
from shared.contracts.saga.protocol import StartSaga
from shared.messages.ids import derive_id

_GROUP_DELAY = timedelta(seconds=1.25)
"""From the start of a second until all its events are stored, by clocks that differ a little."""

Triggers: TypeAlias = Mapping[str, tuple[tuple[str, Trigger[Any]], ...]]
"""Saga types and their triggers, by the type of the event."""


@dataclass(frozen=True, slots=True)
class TriggeredStart:
    """The start of a saga by an event; *at*: None starts it at once."""

    request: StartSaga
    at: datetime | None


def by_event_type(definitions: Iterable[AnyDefinition]) -> Triggers:
    triggers = defaultdict[str, tuple[tuple[str, Trigger[Any]], ...]](tuple)
    for definition in definitions:
        for trigger in definition.triggers:
            triggers[trigger.event_type.__name__] += ((definition.saga_type, trigger),)
    return dict(triggers)


def triggered_starts(
    triggers: Iterable[tuple[str, Trigger[Any]]], event_id: UUID, event: Event, stored_at: datetime
) -> Iterator[TriggeredStart]:
    """Yields the sagas that *event* starts."""
    for saga_type, trigger in triggers:
        group_id = trigger.group_by(event) if trigger.group_by else None
        second = stored_at.replace(microsecond=0)
        if group_id is None:
            saga_id, at = derive_id(event_id, f"{saga_type}/{trigger.name}"), trigger.at(event) if trigger.at else None
        else:
            saga_id, at = derive_id(UUID(group_id), f"{saga_type}/{second.isoformat()}"), second + _GROUP_DELAY
        request = trigger.start(event, str(saga_id))
        if request is not None:
            yield TriggeredStart(request, at)
