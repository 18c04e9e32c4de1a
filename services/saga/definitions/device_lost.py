"""Records that a device is lost, then revokes what was on it. Forward only."""

from __future__ import annotations

from services.saga.core.definition import Definition, Step
from services.saga.core.state import Saga
from services.saga.definitions.parts import publish_each_crl, revoke_each, revoke_each_key
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.saga.people import DeviceLostCompleted, StartDeviceLost
from shared.contracts.yubikey.lifecycle import (
    ReportYubiKeyLost,
    RetireYubiKey,
    YubiKeyLost,
    YubiKeyRetired,
)

Loss = Saga[StartDeviceLost]


def is_to_be_retired(saga: Loss) -> bool:
    return saga.request.retire is not None


def report_lost(saga: Loss) -> ReportYubiKeyLost:
    request = saga.request
    return ReportYubiKeyLost(serial=request.yubikey_serial, reported_by=request.reported_by, location=request.location)


def retire_device(saga: Loss) -> RetireYubiKey:
    assert saga.request.retire is not None
    return RetireYubiKey(serial=saga.request.yubikey_serial, reason=saga.request.retire)


def completed(saga: Loss) -> DeviceLostCompleted:
    return DeviceLostCompleted(**saga.heading, yubikey_serial=saga.request.yubikey_serial)


# fmt: off
DEVICE_LOST = Definition(
    saga_type="device-lost",
    request=StartDeviceLost,
    completed=completed,
    forward_only=True,
    steps=(
        Step(report_lost,   YubiKeyLost, already_done_ok=True),
        revoke_each(RevocationReason.KEY_COMPROMISE, lambda saga: saga.request.certificate_ids),
        publish_each_crl(),
        revoke_each_key("its device was lost", lambda saga: saga.request.key_ids),
        Step(retire_device, YubiKeyRetired, already_done_ok=True, when=is_to_be_retired),
    ),
)
# fmt: on
