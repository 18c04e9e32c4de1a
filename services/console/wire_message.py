"""What was said on the wire, as the console needs it: subject, headers and body, whoever said it and however badly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from shared.messages.headers import Header

ENDINGS = frozenset({"completed", "compensated", "failed"})


@dataclass(frozen=True, slots=True)
class Heard:
    """A command or an event. Anybody may publish a command, so nothing is taken for granted about one."""

    subject: str
    headers: dict[str, str]
    data: bytes

    @classmethod
    def of(cls, message: Msg | RawStreamMsg) -> Heard:
        return cls(message.subject or "", message.headers or {}, message.data or b"")

    @property
    def tokens(self) -> list[str]:
        return self.subject.split(".")

    @property
    def is_event(self) -> bool:
        return self.subject.startswith("keys.events.")

    @property
    def kind(self) -> str:
        """``key.generated`` of an event, ``key.generate`` of a command."""
        return ".".join(self.tokens[2:-1] if self.is_event else self.tokens[2:])

    @property
    def identity(self) -> str:
        """The aggregate's id: an event's last token; of a command, whatever its body names first."""
        if self.is_event:
            return self.tokens[-1]
        body = self.body
        own = f"{self.tokens[2]}_id" if len(self.tokens) > 2 else ""  # noqa: PLR2004 - keys.commands.<aggregate>
        return str(body.get(own) or body.get("serial") or self.headers.get(Header.COMMAND_ID, ""))

    @property
    def body(self) -> dict[str, Any]:
        """The payload; empty where it is not a JSON object."""
        try:
            body = json.loads(self.data)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def event_id(self) -> str:
        return self.headers.get(Header.EVENT_ID, "")

    @property
    def saga_id(self) -> str | None:
        """The saga that this is about, or on whose behalf it is."""
        return self.headers.get(Header.SAGA_ID) or (self.identity if self.is_of_saga else None)

    @property
    def is_of_saga(self) -> bool:
        return self.tokens[2:3] == ["saga"]

    @property
    def announcement(self) -> str | None:
        """Which one of a saga's announcements this event is (``started``, ``step``, …); None of anything else."""
        return self.tokens[4] if self.is_event and self.is_of_saga and self.tokens[4:5] else None

    @property
    def is_end(self) -> bool:
        """Whether it is the last that is heard of a saga."""
        return self.announcement in ENDINGS

    @property
    def at(self) -> datetime:
        try:
            return datetime.fromisoformat(self.headers[Header.TIMESTAMP]).astimezone(UTC)
        except (KeyError, ValueError):
            return datetime.now(UTC)
