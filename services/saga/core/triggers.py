"""Which sagas an event begins, and when. Pure: the same event, heard again, names the same sagas."""

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

_GATHERED = timedelta(seconds=1.25)
"""From the beginning of a second until what was stored in it has been stored, by clocks that differ a little."""

Triggers: TypeAlias = Mapping[str, tuple[tuple[str, Trigger[Any]], ...]]
"""By an event's type: the saga types that it may begin, and how."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A saga that is to begin; *at* is None where nothing is waited for."""

    request: StartSaga
    at: datetime | None


def by_event_type(definitions: Iterable[AnyDefinition]) -> Triggers:
    found = defaultdict[str, tuple[tuple[str, Trigger[Any]], ...]](tuple)
    for definition in definitions:
        for trigger in definition.triggers:
            found[trigger.on.__name__] += ((definition.saga_type, trigger),)
    return dict(found)


def beginnings(
    triggers: Iterable[tuple[str, Trigger[Any]]], event_id: UUID, event: Event, stored_at: datetime
) -> Iterator[Beginning]:
    """What *event* begins."""
    for saga_type, trigger in triggers:
        about = trigger.together(event) if trigger.together else None
        second = stored_at.replace(microsecond=0)
        if about is None:
            saga_id, at = derive_id(event_id, f"{saga_type}/{trigger.name}"), trigger.at(event) if trigger.at else None
        else:
            saga_id, at = derive_id(UUID(about), f"{saga_type}/{second.isoformat()}"), second + _GATHERED
        request = trigger.start(event, str(saga_id))
        if request is not None:
            yield Beginning(request, at)
