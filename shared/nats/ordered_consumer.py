"""Ordered consumers under names of their own, which permissions can tell from those of durable ones.

Without a name in the subject the server takes the one in the request, and with it whatever consumer has that already
(seen: any reader of the log could change `saga-events`; docs/adr/0024).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig


async def ordered_subscribe(
    js: JetStreamContext,
    stream: str,
    subject: str,
    config: ConsumerConfig,
    cb: Callable[[Msg], Awaitable[None]] | None = None,
) -> JetStreamContext.PushSubscription:
    """What *stream* has under *subject*, or under the filters of *config*, in order; anew where some is lost."""
    config.name = _drawn()
    subscription = await js.subscribe(subject, stream=stream, cb=cb, ordered_consumer=True, config=config)
    reading = subscription._sub._jsi  # noqa: SLF001 - what begins anew is not exposed
    assert reading is not None
    begin_anew = reading.recreate_consumer

    async def under_another_name() -> None:
        config.name = _drawn()
        await begin_anew()

    vars(reading).update(recreate_consumer=under_another_name)
    return subscription


def _drawn() -> str:
    return f"ordered-{uuid4().hex}"
