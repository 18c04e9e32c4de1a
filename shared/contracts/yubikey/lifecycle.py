"""Commands and events about the lifecycle of a YubiKey: registration, assignment, loss, retirement."""

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


class _LifecycleCommandBase(YubiKeyMessage, Command):
    pass


class _LifecycleEventBase(YubiKeyMessage, Event):
    pass


class RegisterYubiKey(_LifecycleCommandBase):
    label: Name
    request_id: Id | None = Field(
        default=None, description="id by which a later command can undo this one, even before it arrives"
    )


class DeregisterYubiKey(_LifecycleCommandBase):
    reason: Text = "deregistered"
    request_id: Id | None = Field(
        default=None,
        description="undo only the request with this id, and reject it if it arrives later; default: any",
    )


class AssignYubiKey(_LifecycleCommandBase):
    person_id: Text
    person_name: Text | None = None
    request_id: Id | None = Field(
        default=None, description="id by which a later command can undo this one, even before it arrives"
    )


class TransferYubiKey(_LifecycleCommandBase):
    """Assign the device to another person. Its content stays; reset the device first to delete it."""

    person_id: Text
    person_name: Text | None = None


class UnassignYubiKey(_LifecycleCommandBase):
    reason: Text = "returned"
    request_id: Id | None = Field(
        default=None,
        description="undo only the request with this id, and reject it if it arrives later; default: any",
    )


class ReportYubiKeyLost(_LifecycleCommandBase):
    """Block changes of a lost device. The saga `device-lost` revokes its certificates."""

    reported_by: Text | None = None
    location: Text | None = None


class RetireYubiKey(_LifecycleCommandBase):
    reason: RetirementReason
    replacement_serial: DeviceSerial | None = None


class UnsealYubiKey(_LifecycleCommandBase):
    reason: Text


class YubiKeyRegistered(_LifecycleEventBase):
    label: Name
    request_id: Id | None = None


class YubiKeyDeregistered(_LifecycleEventBase):
    reason: Text


class YubiKeyAssigned(_LifecycleEventBase):
    person_id: Text
    person_name: Text | None
    request_id: Id | None = None


class YubiKeyTransferred(_LifecycleEventBase):
    from_person_id: Text
    person_id: Text
    person_name: Text | None


class YubiKeyAssignmentRevoked(_LifecycleEventBase):
    person_id: Text
    reason: Text


class YubiKeyRequestVoided(_LifecycleEventBase):
    """The request with this id is void, and a command with it that arrives later is rejected."""

    request_id: Id
    reason: Text


class YubiKeyLost(_LifecycleEventBase):
    person_id: Text | None
    reported_by: Text
    location: Text | None


class YubiKeyRetired(_LifecycleEventBase):
    reason: RetirementReason
    replacement_serial: DeviceSerial | None


class YubiKeyUnsealed(_LifecycleEventBase):
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
