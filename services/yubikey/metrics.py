"""Metrics of device operations: duration and outcome by kind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from opentelemetry import metrics

from services.yubikey.core.effects import AtDevice, Effect, EffectFailed, Outcome
from shared.telemetry.instruments import DURATION_BUCKETS_S

_operations = metrics.get_meter("cim-keys").create_histogram(
    "cim_keys.device.operation.duration",
    "s",
    "Duration of a device operation, waiting for people included",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
)


def with_metrics(perform: Callable[[Effect], Awaitable[Outcome]]) -> Callable[[Effect], Awaitable[Outcome]]:
    """Wraps *perform* so that it records duration and outcome of each effect."""

    async def perform_and_record(effect: Effect) -> Outcome:
        started, result = time.perf_counter(), "error"
        try:
            outcome = await perform(effect)
            result = str(outcome.code) if isinstance(outcome, EffectFailed) else "done"
        finally:
            labels = {"cim.operation": _name(effect), "cim.outcome": result}
            _operations.record(time.perf_counter() - started, labels)
        return outcome

    return perform_and_record


def _name(effect: Effect) -> str:
    return type(effect.command if isinstance(effect, AtDevice) else effect).__name__
