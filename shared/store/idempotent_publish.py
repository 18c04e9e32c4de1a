"""Idempotent publish: at most one message per subject, for replies by command and announcements by saga."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.messages.catalog import LOG
from shared.messages.envelope import OutgoingMessage
from shared.messages.headers import NatsHeader
from shared.nats.kv import WRONG_LAST_SEQUENCE


async def publish_once(js: JetStreamContext, outgoing: OutgoingMessage, *, check_first: bool = False) -> bool:
    """Publishes to a subject that can have one message only; False if it has one already.

    A core subscription also receives a message that JetStream rejects, so a likely repetition is looked up before
    (*check_first*).
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
    """True if the log has an event on *subject*, which may be a pattern."""
    try:
        await js.get_msg(LOG, subject=subject)
    except NotFoundError:
        return False
    return True
