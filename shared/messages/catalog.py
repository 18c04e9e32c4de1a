"""``subjects.yaml`` and ``streams.yaml``, read and checked once: the map of everything on the wire."""

from __future__ import annotations

from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.messages.subjects import Subject

COMMANDS = Subject(("keys", "commands"))
EVENTS = Subject(("keys", "events"))
LOG = "KEYS_EVENTS"
"""The stream that is the truth."""


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Route(_Checked):
    """One line of subjects.yaml: a message, who may publish it and who may read it."""

    message: str
    publishers: frozenset[str] = Field(alias="from")
    readers: frozenset[str] = Field(alias="to")


class Stream(_Checked):
    """One stream of streams.yaml, in the words of the JetStream API (durations in seconds)."""

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


class Consumer(_Checked):
    stream: str
    reader: str
    filters: tuple[str, ...]


class Bucket(_Checked):
    """*keys_of*: of its writers each writes only under its own aggregates, or its own streams' and consumers' names."""

    history: int = Field(ge=1, le=64)
    writers: tuple[str, ...]
    keys_of: Literal["aggregates", "consumers"] | None = None
    readers: tuple[str, ...] = ()
    looked_up_by: tuple[str, ...] = ()
    erasers: tuple[str, ...] = ()
    storage: Literal["file", "memory"] = "file"
    num_replicas: int = Field(default=1, ge=1, le=5)


class Catalog(_Checked):
    """What may be said, where, by whom; and what the server must hold it in."""

    routes: dict[str, Route]
    streams: dict[str, Stream]
    consumers: dict[str, Consumer]
    buckets: dict[str, Bucket]

    @field_validator("routes")
    @classmethod
    def _one_line_a_message(cls, routes: dict[str, Route]) -> dict[str, Route]:
        said = [route.message for route in routes.values()]
        if twice := {message for message in said if said.count(message) > 1}:
            raise ValueError(f"more than one line for {sorted(twice)}")
        return routes

    @cached_property
    def patterns(self) -> dict[str, Subject]:
        """Where each message travels, by its name."""
        return {route.message: Subject.parse(text) for text, route in self.routes.items()}

    @cached_property
    def commands(self) -> dict[str, str]:
        """The message that each command subject takes, by the subject."""
        return {
            text: route.message
            for text, route in self.routes.items()
            if (COMMANDS + Subject((">",))).covers(Subject.parse(text))
        }

    @cached_property
    def services(self) -> frozenset[str]:
        """Who answers commands."""
        return frozenset(reader for text in self.commands for reader in self.routes[text].readers)

    def commands_of(self, service: str) -> list[str]:
        """The command subjects that *service* answers."""
        return sorted(text for text in self.commands if service in self.routes[text].readers)

    def aggregates_of(self, service: str) -> list[str]:
        """The types of aggregate whose commands *service* answers."""
        return sorted({Subject.parse(text).tokens[2] for text in self.commands_of(service)})

    def consumers_of(self, service: str) -> list[str]:
        return [name for name, consumer in self.consumers.items() if consumer.reader == service]

    def streams_of(self, service: str) -> list[str]:
        """The streams that *service* cannot do without, those of its buckets among them."""
        needed = {LOG} | {self.consumers[name].stream for name in self.consumers_of(service)}
        needed |= {name for name, stream in self.streams.items() if service in stream.writers}
        return sorted(needed | {f"KV_{name}" for name, bucket in self.buckets.items() if service in bucket.writers})

    def subjects_of(self, stream: Stream) -> tuple[str, ...]:
        """What the stream is bound to; for the commands one pattern an aggregate, so that nobody's is in no stream."""
        if stream.subjects_of is None:
            return stream.subjects
        aggregates = sorted({Subject.parse(text).tokens[2] for text in self.commands})
        return tuple(str(COMMANDS + Subject((aggregate, ">"))) for aggregate in aggregates)


@cache
def catalog() -> Catalog:
    """The catalog that this installation carries. Raises pydantic's ValidationError for a file that is not one."""
    streams: dict[str, Any] = yaml.safe_load((files("shared") / "streams.yaml").read_text())
    defaults = streams.pop("defaults")
    for kind in ("streams", "buckets"):
        streams[kind] = {name: defaults | settings for name, settings in streams[kind].items()}
    return Catalog(routes=yaml.safe_load((files("shared") / "subjects.yaml").read_text()), **streams)
