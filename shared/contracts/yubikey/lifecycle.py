"""What people say about a YubiKey: whose it is, that it is lost, that it is no more."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shared.contracts.base import Command, DeviceSerial, Event, Id, Name, Text
from shared.contracts.yubikey.slots import YubiKeyMessage


class RetirementReason(StrEnum):
    LOST_OR_STOLEN = "lost-or-stolen"
    DAMAGED = "damaged"
    FIRMWARE_OUTDATED = "firmware-outdated"
    EMPLOYEE_TERMINATION = "employee-termination"
    UPGRADED = "upgraded"
    ADMINISTRATIVE = "administrative"


class _Asked(YubiKeyMessage, Command):
    pass


class _Told(YubiKeyMessage, Event):
    pass


class RegisterYubiKey(_Asked):
    label: Name
    request_id: Id | None = Field(
        default=None, description="under which it can be taken back, even before it has arrived"
    )


class DeregisterYubiKey(_Asked):
    reason: Text = "deregistered"
    request_id: Id | None = Field(
        default=None,
        description="only what was asked under it; what arrives under it later is refused. Default: whatever stands",
    )


class AssignYubiKey(_Asked):
    person_id: Text
    person_name: Text | None = None
    request_id: Id | None = Field(
        default=None, description="under which it can be taken back, even before it has arrived"
    )


class TransferYubiKey(_Asked):
    """Give it to somebody else. What is on it stays: reset it first, if it must not."""

    person_id: Text
    person_name: Text | None = None


class UnassignYubiKey(_Asked):
    reason: Text = "returned"
    request_id: Id | None = Field(
        default=None,
        description="only what was asked under it; what arrives under it later is refused. Default: whatever stands",
    )


class ReportYubiKeyLost(_Asked):
    """Nothing is put on it any more. Revoking its certificates is the saga `device-lost`'s."""

    reported_by: Text | None = None
    location: Text | None = None


class RetireYubiKey(_Asked):
    reason: RetirementReason
    replacement_serial: DeviceSerial | None = None


class UnsealYubiKey(_Asked):
    reason: Text


class YubiKeyRegistered(_Told):
    label: Name
    request_id: Id | None = None


class YubiKeyDeregistered(_Told):
    reason: Text


class YubiKeyAssigned(_Told):
    person_id: Text
    person_name: Text | None
    request_id: Id | None = None


class YubiKeyTransferred(_Told):
    from_person_id: Text
    person_id: Text
    person_name: Text | None


class YubiKeyAssignmentRevoked(_Told):
    person_id: Text
    reason: Text


class YubiKeyRequestVoided(_Told):
    """Nothing stands that was asked under this id, and what arrives under it later is refused."""

    request_id: Id
    reason: Text


class YubiKeyLost(_Told):
    person_id: Text | None
    reported_by: Text
    location: Text | None


class YubiKeyRetired(_Told):
    reason: RetirementReason
    replacement_serial: DeviceSerial | None


class YubiKeyUnsealed(_Told):
    reason: Text


LifecycleCommand = (
    RegisterYubiKey
    | DeregisterYubiKey
    | AssignYubiKey
    | TransferYubiKey
    | UnassignYubiKey
    | ReportYubiKeyLost
    | RetireYubiKey
    | UnsealYubiKey
)


LifecycleEvent = (
    YubiKeyRegistered
    | YubiKeyDeregistered
    | YubiKeyAssigned
    | YubiKeyTransferred
    | YubiKeyAssignmentRevoked
    | YubiKeyRequestVoided
    | YubiKeyLost
    | YubiKeyRetired
    | YubiKeyUnsealed
)
