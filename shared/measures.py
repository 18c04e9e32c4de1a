"""What operators see of a process and its consumers: what waits for it, what it gave up, how often it was cut off."""

from __future__ import annotations

import asyncio

from opentelemetry import metrics

from shared.consumer import PullConsumer
from shared.errors import Transient

_EVERY = 15.0
_meter = metrics.get_meter("cim-keys")
_pending = _meter.create_gauge("cim_keys.consumer.pending", "{message}", "Messages that are yet to be heard")
_in_hand = _meter.create_gauge("cim_keys.consumer.ack_pending", "{message}", "Messages that are being worked on")
_again = _meter.create_gauge("cim_keys.consumer.redelivered", "{message}", "Of these, such as were delivered before")
buried = _meter.create_counter(
    "cim_keys.dead_letters", "{message}", "Messages that could not be processed, and are kept"
)
reconnects = _meter.create_counter(
    "cim_keys.nats.reconnects", "{connection}", "How often the connection was made again"
)


async def measure_forever(consumer: PullConsumer) -> None:
    """Tell where *consumer* stands: every process that reads it says the same."""
    labels = {"messaging.consumer.group.name": consumer.durable}
    while True:
        try:
            standing = await consumer.standing()
        except Transient:
            pass  # its process says so when it is asked whether it is ready
        else:
            _pending.set(standing.pending, labels)
            _in_hand.set(standing.ack_pending, labels)
            _again.set(standing.redelivered, labels)
        await asyncio.sleep(_EVERY)
