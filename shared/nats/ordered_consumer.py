"""Ordered consumers with names of their own, which permissions can distinguish from durable consumers.

Without a name in the subject the server takes the name in the request, which may be that of an existing consumer: any
reader of the log could change `saga-events` (docs/adr/0024).
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
    """Subscribes to *subject*, or to the filters of *config*, in order; recreates the consumer after a gap."""
    config.name = _random_name()
    subscription = await js.subscribe(subject, stream=stream, cb=cb, ordered_consumer=True, config=config)
    ordered = subscription._sub._jsi  # noqa: SLF001 - nats-py does not expose the recreation
    assert ordered is not None
    recreate = ordered.recreate_consumer

    async def recreate_under_new_name() -> None:
        config.name = _random_name()
        await recreate()

    vars(ordered).update(recreate_consumer=recreate_under_new_name)
    return subscription


def _random_name() -> str:
    return f"ordered-{uuid4().hex}"
