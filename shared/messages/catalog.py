"""The catalog of subjects, streams, consumers and buckets, read from ``subjects.yaml`` and ``streams.yaml``."""

from __future__ import annotations

from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.messages.subjects import Subject, aggregate_type_of

COMMANDS = Subject(("keys", "commands"))
EVENTS = Subject(("keys", "events"))
LOG = "KEYS_EVENTS"
"""The stream with all events, from which every other state can be rebuilt."""


class _CatalogModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Route(_CatalogModel):
    """One line of subjects.yaml: a message, the roles that may publish it, the roles that may read it."""

    message: str
    publishers: frozenset[str] = Field(alias="from")
    readers: frozenset[str] = Field(alias="to")


class Stream(_CatalogModel):
    """One stream of streams.yaml, with the field names of the JetStream API (durations in seconds)."""

    subjects: tuple[str, ...] = ()
    subjects_of: Literal["commands"] | None = None
    retention: Literal["limits", "workqueue"]
    storage: Literal["file", "memory"] = "file"
    num_replicas: int = Field(default=1, ge=1, le=5)
    duplicate_window: int = 120
    max_age: int = 0
    deny_delete: bool = False
    deny_purge: bool = False
    allow_direct: bool = False
    allow_msg_schedules: bool = False
    allow_rollup_hdrs: bool = False
    writers: tuple[str, ...] = ()
    looked_up_by: tuple[str, ...] = ()


class Consumer(_CatalogModel):
    """One durable consumer of streams.yaml."""

    stream: str
    reader: str
    filters: tuple[str, ...]


class Bucket(_CatalogModel):
    """One key-value bucket of streams.yaml.

    With *keys_of*, each writer writes only keys of its own aggregates, or of its own streams and consumers.
    """

    history: int = Field(ge=1, le=64)
    writers: tuple[str, ...]
    keys_of: Literal["aggregates", "consumers"] | None = None
    readers: tuple[str, ...] = ()
    looked_up_by: tuple[str, ...] = ()
    erasers: tuple[str, ...] = ()
    storage: Literal["file", "memory"] = "file"
    num_replicas: int = Field(default=1, ge=1, le=5)


class Catalog(_CatalogModel):
    """All routes, streams, consumers and buckets of the suite."""

    routes: dict[str, Route]
    streams: dict[str, Stream]
    consumers: dict[str, Consumer]
    buckets: dict[str, Bucket]

    @field_validator("routes")
    @classmethod
    def _unique_messages(cls, routes: dict[str, Route]) -> dict[str, Route]:
        messages = [route.message for route in routes.values()]
        if twice := {message for message in messages if messages.count(message) > 1}:
            raise ValueError(f"more than one line for {sorted(twice)}")
        return routes

    @cached_property
    def patterns(self) -> dict[str, Subject]:
        """Subject pattern of each message, by its name."""
        return {route.message: Subject.parse(text) for text, route in self.routes.items()}

    @cached_property
    def commands(self) -> dict[str, str]:
        """Command name of each command subject."""
        return {
            text: route.message
            for text, route in self.routes.items()
            if (COMMANDS + Subject((">",))).covers(Subject.parse(text))
        }

    @cached_property
    def services(self) -> frozenset[str]:
        """Services that handle commands."""
        return frozenset(reader for text in self.commands for reader in self.routes[text].readers)

    def commands_of(self, service: str) -> list[str]:
        """Returns the command subjects that *service* handles."""
        return sorted(text for text in self.commands if service in self.routes[text].readers)

    def aggregates_of(self, service: str) -> list[str]:
        """Returns the aggregate types whose commands *service* handles."""
        return sorted({aggregate_type_of(text) for text in self.commands_of(service)})

    def consumers_of(self, service: str) -> list[str]:
        return [name for name, consumer in self.consumers.items() if consumer.reader == service]

    def streams_of(self, service: str) -> list[str]:
        """Returns the streams that *service* needs, including those of its buckets."""
        needed = {LOG} | {self.consumers[name].stream for name in self.consumers_of(service)}
        needed |= {name for name, stream in self.streams.items() if service in stream.writers}
        return sorted(needed | {f"KV_{name}" for name, bucket in self.buckets.items() if service in bucket.writers})

    def subjects_of(self, stream: Stream) -> tuple[str, ...]:
        """Returns the subjects of the stream; for commands one pattern per aggregate, so that each one is stored."""
        if stream.subjects_of is None:
            return stream.subjects
        aggregates = sorted({aggregate_type_of(text) for text in self.commands})
        return tuple(str(COMMANDS + Subject((aggregate, ">"))) for aggregate in aggregates)


@cache
def catalog() -> Catalog:
    """Loads the catalog of this installation. Raises pydantic's ValidationError for an invalid file."""
    streams: dict[str, Any] = yaml.safe_load((files("shared") / "streams.yaml").read_text())
    defaults = streams.pop("defaults")
    for kind in ("streams", "buckets"):
        streams[kind] = {name: defaults | settings for name, settings in streams[kind].items()}
    return Catalog(routes=yaml.safe_load((files("shared") / "subjects.yaml").read_text()), **streams)
