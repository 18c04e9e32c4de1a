"""Messages of which a subject of the log has one, for ever: rejections by command, announcements by saga."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.messages.catalog import LOG
from shared.messages.envelope import OutgoingMessage
from shared.messages.headers import NatsHeader
from shared.nats.kv import WRONG_LAST_SEQUENCE


async def publish_once(js: JetStreamContext, outgoing: OutgoingMessage, *, check_first: bool = False) -> bool:
    """Publish to a subject that can only ever have one message; False when it has it already.

    A plain subscriber hears what is published even if the stream refuses it, so what is *perhaps_again* is looked up.
    """
    if check_first and await has_message(js, outgoing.subject):
        return False
    try:
        await js.publish(
            outgoing.subject,
            outgoing.payload,
            headers=outgoing.headers | {NatsHeader.EXPECTED_LAST_SUBJECT_SEQUENCE: "0"},
        )
    except APIError as error:
        if error.err_code in WRONG_LAST_SEQUENCE:
            return False
        raise
    return True


async def has_message(js: JetStreamContext, subject: str) -> bool:
    """Whether the log has an event on *subject* (or on what that pattern matches)."""
    try:
        await js.get_msg(LOG, subject=subject)
    except NotFoundError:
        return False
    return True
