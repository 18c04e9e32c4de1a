"""Metrics of a process: the backlog of its consumers, dead letters and reconnects."""

from __future__ import annotations

import asyncio

from opentelemetry import metrics

from shared.errors import Transient
from shared.process.subscriber import PullSubscriber
from shared.telemetry.instruments import Gauge, best_effort

INTERVAL_S = 15.0
_meter = metrics.get_meter("cim-keys")
_pending = Gauge("cim_keys.consumer.pending", "{message}", "Messages that were not delivered yet")
_ack_pending = Gauge("cim_keys.consumer.ack_pending", "{message}", "Messages in flight")
_redelivered = Gauge("cim_keys.consumer.redelivered", "{message}", "Messages in flight that were delivered before")
dead_letters_stored = _meter.create_counter(
    "cim_keys.dead_letters", "{message}", "Messages that could not be processed"
)
reconnects = _meter.create_counter(
    "cim_keys.nats.reconnects", "{connection}", "How often the connection was made again"
)


async def measure_forever(subscriber: PullSubscriber, interval_s: float = INTERVAL_S) -> None:
    """Reports the progress of a consumer; every process that reads it reports the same values."""
    while True:
        with best_effort(subscriber.durable):
            await _measure(subscriber)
        await asyncio.sleep(interval_s)


async def _measure(subscriber: PullSubscriber) -> None:
    try:
        progress = await subscriber.progress()
    except Transient:  # readiness says so; the gauges report nothing instead of an old value
        for gauge in (_pending, _ack_pending, _redelivered):
            gauge.set(subscriber.durable, {})
        return
    labels = (("messaging.consumer.group.name", subscriber.durable),)
    _pending.set(subscriber.durable, {labels: progress.pending})
    _ack_pending.set(subscriber.durable, {labels: progress.ack_pending})
    _redelivered.set(subscriber.durable, {labels: progress.redelivered})
