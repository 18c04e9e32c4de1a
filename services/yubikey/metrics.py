"""What operators see of devices: how long each kind of operation takes, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from opentelemetry import metrics

from services.yubikey.core.effects import AtDevice, DeviceRefused, Effect, Outcome
from shared.telemetry.instruments import DURATION_BUCKETS_S

_operations = metrics.get_meter("cim-keys").create_histogram(
    "cim_keys.device.operation.duration",
    "s",
    "How long a device, and who is asked to touch it, took",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
)


def measured(perform: Callable[[Effect], Awaitable[Outcome]]) -> Callable[[Effect], Awaitable[Outcome]]:
    """*perform*, and what became of each effect is counted."""

    async def performing(effect: Effect) -> Outcome:
        began, came = time.perf_counter(), "error"
        try:
            outcome = await perform(effect)
            came = str(outcome.code) if isinstance(outcome, DeviceRefused) else "done"
        finally:
            labels = {"cim.operation": _name(effect), "cim.outcome": came}
            _operations.record(time.perf_counter() - began, labels)
        return outcome

    return performing


def _name(effect: Effect) -> str:
    return type(effect.command if isinstance(effect, AtDevice) else effect).__name__
