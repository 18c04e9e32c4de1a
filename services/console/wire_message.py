"""Messages from the wire for display: subject, headers and body, valid or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from shared.messages.headers import Header

TERMINAL_ANNOUNCEMENTS = frozenset({"completed", "compensated", "failed"})


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A command or an event. The content is untrusted: any client may publish a command."""

    subject: str
    headers: dict[str, str]
    data: bytes

    @classmethod
    def of(cls, message: Msg | RawStreamMsg) -> WireMessage:
        return cls(message.subject or "", message.headers or {}, message.data or b"")

    @property
    def tokens(self) -> list[str]:
        return self.subject.split(".")

    @property
    def is_event(self) -> bool:
        return self.subject.startswith("keys.events.")

    @property
    def kind(self) -> str:
        """Returns the event or command kind, such as ``key.generated`` or ``key.generate``."""
        return ".".join(self.tokens[2:-1] if self.is_event else self.tokens[2:])

    @property
    def identity(self) -> str:
        """Returns the aggregate id: the last token of an event; for a command, from its body."""
        if self.is_event:
            return self.tokens[-1]
        body = self.body
        id_field = f"{self.tokens[2]}_id" if len(self.tokens) > 2 else ""  # noqa: PLR2004 - keys.commands.<aggregate>
        return str(body.get(id_field) or body.get("serial") or self.headers.get(Header.COMMAND_ID, ""))

    @property
    def body(self) -> dict[str, Any]:
        """Returns the payload; empty unless it is a JSON object."""
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
        """Returns the id of the saga that this message is about or belongs to."""
        return self.headers.get(Header.SAGA_ID) or (self.identity if self.is_of_saga else None)

    @property
    def is_of_saga(self) -> bool:
        return self.tokens[2:3] == ["saga"]

    @property
    def announcement(self) -> str | None:
        """Returns the kind of saga announcement (``started``, ``step``, …); None for other messages."""
        return self.tokens[4] if self.is_event and self.is_of_saga and self.tokens[4:5] else None

    @property
    def is_end(self) -> bool:
        """Tells whether this is the last event of a saga."""
        return self.announcement in TERMINAL_ANNOUNCEMENTS

    @property
    def at(self) -> datetime:
        try:
            return datetime.fromisoformat(self.headers[Header.TIMESTAMP]).astimezone(UTC)
        except (KeyError, ValueError):
            return datetime.now(UTC)
