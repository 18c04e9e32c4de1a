"""What operators see of a process and its consumers: what waits for it, what it gave up, how often it was cut off."""

from __future__ import annotations

import asyncio

from opentelemetry import metrics

from shared.errors import Transient
from shared.process.consumer import PullConsumer
from shared.telemetry.instruments import Gauge, best_effort

_EVERY = 15.0
_meter = metrics.get_meter("cim-keys")
_pending = Gauge("cim_keys.consumer.pending", "{message}", "Messages that are yet to be heard")
_in_hand = Gauge("cim_keys.consumer.ack_pending", "{message}", "Messages that are being worked on")
_again = Gauge("cim_keys.consumer.redelivered", "{message}", "Of these, such as were delivered before")
buried = _meter.create_counter(
    "cim_keys.dead_letters", "{message}", "Messages that could not be processed, and are kept"
)
reconnects = _meter.create_counter(
    "cim_keys.nats.reconnects", "{connection}", "How often the connection was made again"
)


async def measure_forever(consumer: PullConsumer) -> None:
    """Tell where *consumer* stands: every process that reads it says the same."""
    while True:
        with best_effort(consumer.durable):
            await _measure(consumer)
        await asyncio.sleep(_EVERY)


async def _measure(consumer: PullConsumer) -> None:
    try:
        standing = await consumer.standing()
    except Transient:  # its process says so when it is asked whether it is ready; and nothing is known any more
        for gauge in (_pending, _in_hand, _again):
            gauge.set(consumer.durable, {})
        return
    labels = (("messaging.consumer.group.name", consumer.durable),)
    _pending.set(consumer.durable, {labels: standing.pending})
    _in_hand.set(consumer.durable, {labels: standing.ack_pending})
    _again.set(consumer.durable, {labels: standing.redelivered})
