"""Who has a device, and what may still be done with it. Pure: no clock, no randomness, no IO.

What is plugged in and may be used is the device's own affair and the domain's; here is what people say about it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from services.yubikey.core.states import Fate, Life
from shared.contracts.base import Command
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey import secrets, slot_operations, slots
from shared.contracts.yubikey.devices import (
    ProvisionYubiKey,
    SealYubiKey,
)
from shared.contracts.yubikey.lifecycle import (
    AssignYubiKey,
    DeregisterYubiKey,
    LifecycleCommand,
    LifecycleEvent,
    RegisterYubiKey,
    ReportYubiKeyLost,
    RetireYubiKey,
    TransferYubiKey,
    UnassignYubiKey,
    UnsealYubiKey,
    YubiKeyAssigned,
    YubiKeyAssignmentRevoked,
    YubiKeyDeregistered,
    YubiKeyLost,
    YubiKeyRegistered,
    YubiKeyRequestVoided,
    YubiKeyRetired,
    YubiKeyTransferred,
    YubiKeyUnsealed,
)
from shared.decider import AlreadyDone, Rejection

_PUTS_SOMETHING_ON_IT = (
    slots.GenerateSlotKey,
    slots.PrepareImport,
    slots.ImportSlotKey,
    slots.ImportSlotCertificate,
    slot_operations.MoveSlotKey,
    secrets.ConfigurePin,
    secrets.ConfigurePuk,
    secrets.RotateManagementKey,
    secrets.SetRetries,
    ProvisionYubiKey,
    SealYubiKey,
)
_VOID_KEPT = 64
"""Requests that came to nothing: as many as may be under way to one device at a time, and more."""
_USES_IT = (slot_operations.CreateSlotCsr, slot_operations.SignInSlot, slot_operations.DecryptInSlot)
_CHANGES_WHAT_WAS_SEALED = (
    slots.GenerateSlotKey,
    slots.ImportSlotKey,
    slots.ImportSlotCertificate,
    slot_operations.MoveSlotKey,
    secrets.RotateManagementKey,
    secrets.SetRetries,
    ProvisionYubiKey,
)


def barred(life: Life, serial: str, command: Command) -> Rejection | None:
    """Why what is asked must not be done to a device that is lost, retired, sealed or nobody's; None: it may be."""
    if life.fate is not Fate.IN_USE and isinstance(command, (*_PUTS_SOMETHING_ON_IT, *_USES_IT)):
        remedy = "yubikey.reset puts a lost one that was found back in use" if life.fate is Fate.LOST else "use another"
        return _conflict(f"YubiKey {serial} is {life.fate}: nothing is put on it or done with it any more; {remedy}")
    clears_all = isinstance(command, slots.ClearSlot) and command.key_id is None
    if life.sealed is not None and (clears_all or isinstance(command, _CHANGES_WHAT_WAS_SEALED)):
        return _conflict(f"YubiKey {serial} is sealed: ask yubikey.unseal first, and say why")
    if isinstance(command, ProvisionYubiKey) and life.person_id is None:
        return _conflict(f"YubiKey {serial} is nobody's: ask yubikey.register and yubikey.assign first")
    return None


def told(life: Life, command: LifecycleCommand, actor: str) -> LifecycleEvent | Rejection | AlreadyDone:
    """What becomes of what somebody says about the device."""
    match command:
        case RegisterYubiKey() | DeregisterYubiKey():
            return _registered(life, command)
        case AssignYubiKey() | TransferYubiKey():
            return _handed_over(life, command)
        case UnassignYubiKey():
            return _handed_back(life, command)
        case ReportYubiKeyLost() | RetireYubiKey():
            return _given_up(life, command, actor)
        case UnsealYubiKey(serial=serial, reason=reason):
            return YubiKeyUnsealed(serial=serial, reason=reason) if life.sealed is not None else AlreadyDone()
        case _:
            assert_never(command)


def _registered(life: Life, command: RegisterYubiKey | DeregisterYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    serial = command.serial
    if isinstance(command, RegisterYubiKey):
        if command.request_id in life.void:
            return _taken_back(command)
        if life.fate is Fate.RETIRED:
            return _conflict(f"YubiKey {serial} is retired: register another")
        if life.label == command.label:
            return AlreadyDone()
        return YubiKeyRegistered(serial=serial, label=command.label, request_id=command.request_id)
    if command.request_id is not None and command.request_id != life.label_by:
        return _void(life, command)
    if life.person_id is not None:
        return _conflict(f"YubiKey {serial} is {life.person_id}'s: ask yubikey.unassign first")
    return YubiKeyDeregistered(serial=serial, reason=command.reason) if life.label is not None else AlreadyDone()


def _given_up(
    life: Life, command: ReportYubiKeyLost | RetireYubiKey, actor: str
) -> LifecycleEvent | Rejection | AlreadyDone:
    serial = command.serial
    if isinstance(command, RetireYubiKey):
        if command.replacement_serial == serial:
            return Rejection(RejectionCode.INVALID, "a YubiKey does not replace itself: name another, or none")
        if life.fate is Fate.RETIRED:
            return AlreadyDone()
        return YubiKeyRetired(serial=serial, reason=command.reason, replacement_serial=command.replacement_serial)
    if life.fate is Fate.RETIRED:
        return _conflict(f"YubiKey {serial} is retired already")
    if life.fate is Fate.LOST:
        return AlreadyDone()
    by = command.reported_by or actor
    return YubiKeyLost(serial=serial, person_id=life.person_id, reported_by=by, location=command.location)


def _handed_back(life: Life, command: UnassignYubiKey) -> LifecycleEvent | AlreadyDone:
    if command.request_id is not None and command.request_id != life.person_by:
        return _void(life, command)
    if life.person_id is None:
        return AlreadyDone()
    return YubiKeyAssignmentRevoked(serial=command.serial, person_id=life.person_id, reason=command.reason)


def _handed_over(life: Life, command: AssignYubiKey | TransferYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    serial, has_it = command.serial, life.person_id
    if isinstance(command, AssignYubiKey) and command.request_id in life.void:
        return _taken_back(command)
    if life.fate is not Fate.IN_USE:
        return _conflict(f"YubiKey {serial} is {life.fate} and is given to nobody")
    if life.label is None:
        return _conflict(f"YubiKey {serial} is not registered: ask yubikey.register first")
    if has_it == command.person_id:
        return AlreadyDone()
    to, name = command.person_id, command.person_name
    if isinstance(command, AssignYubiKey):
        if has_it is not None:
            return _conflict(f"YubiKey {serial} is {has_it}'s: ask yubikey.transfer or yubikey.unassign")
        return YubiKeyAssigned(serial=serial, person_id=to, person_name=name, request_id=command.request_id)
    if has_it is None:
        return _conflict(f"YubiKey {serial} is nobody's, so there is nobody to take it from: ask yubikey.assign")
    return YubiKeyTransferred(serial=serial, from_person_id=has_it, person_id=to, person_name=name)


def _void(life: Life, command: DeregisterYubiKey | UnassignYubiKey) -> YubiKeyRequestVoided | AlreadyDone:
    """Nothing stands that was asked under that id. It may still arrive: late, and after what takes it back."""
    if command.request_id is None or command.request_id in life.void:
        return AlreadyDone()
    return YubiKeyRequestVoided(serial=command.serial, request_id=command.request_id, reason=command.reason)


def _taken_back(command: RegisterYubiKey | AssignYubiKey) -> Rejection:
    return _conflict(f"request {command.request_id} was taken back before it arrived: ask under another id")


def after(life: Life, event: LifecycleEvent) -> Life:
    match event:
        case YubiKeyRegistered(label=label, request_id=by):
            return replace(life, label=label, label_by=by)
        case YubiKeyDeregistered():
            return replace(life, label=None, label_by=None)
        case YubiKeyAssigned(person_id=person_id, request_id=by):
            return replace(life, person_id=person_id, person_by=by)
        case YubiKeyTransferred(person_id=person_id):
            return replace(life, person_id=person_id, person_by=None)
        case YubiKeyAssignmentRevoked():
            return replace(life, person_id=None, person_by=None)
        case YubiKeyRequestVoided(request_id=request_id):
            return replace(life, void=(*life.void, request_id)[-_VOID_KEPT:])
        case YubiKeyLost():
            return replace(life, fate=Fate.LOST)
        case YubiKeyRetired():
            return replace(life, fate=Fate.RETIRED)
        case YubiKeyUnsealed():
            return replace(life, sealed=None)
        case _:
            assert_never(event)


def _conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)
