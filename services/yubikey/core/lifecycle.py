"""Lifecycle of a device: registration, assignment, loss, retirement and seal. Pure: no clock, no randomness, no IO."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from services.yubikey.core.states import DeviceStatus, Lifecycle
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

_FILLING_COMMANDS = (
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
_USING_COMMANDS = (slot_operations.CreateSlotCsr, slot_operations.SignInSlot, slot_operations.DecryptInSlot)
_SEAL_BREAKING_COMMANDS = (
    slots.GenerateSlotKey,
    slots.ImportSlotKey,
    slots.ImportSlotCertificate,
    slot_operations.MoveSlotKey,
    secrets.RotateManagementKey,
    secrets.SetRetries,
    ProvisionYubiKey,
)
_MAX_VOIDED_REQUEST_IDS = 64
"""Voided request ids that are remembered: more than requests about one device are ever in flight."""


def rejection_of(state: Lifecycle, serial: str, command: Command) -> Rejection | None:
    """The rejection of a command that a lost, retired, sealed or unassigned device does not allow; None: allowed."""
    status = state.status
    if status is not DeviceStatus.IN_USE and isinstance(command, (*_FILLING_COMMANDS, *_USING_COMMANDS)):
        remedy = "reset it with yubikey.reset once it is found" if status is DeviceStatus.LOST else "use another one"
        return _conflict(f"YubiKey {serial} is {status} and can be neither changed nor used; {remedy}")
    clears_all = isinstance(command, slots.ClearSlot) and command.key_id is None
    if state.sealed_sha256 is not None and (clears_all or isinstance(command, _SEAL_BREAKING_COMMANDS)):
        return _conflict(f"YubiKey {serial} is sealed: send yubikey.unseal with a reason first")
    if isinstance(command, ProvisionYubiKey) and state.person_id is None:
        return _conflict(f"YubiKey {serial} is not assigned: send yubikey.register and yubikey.assign first")
    return None


def decide(state: Lifecycle, command: LifecycleCommand, actor: str) -> LifecycleEvent | Rejection | AlreadyDone:
    match command:
        case RegisterYubiKey():
            return _register(state, command)
        case DeregisterYubiKey():
            return _deregister(state, command)
        case AssignYubiKey():
            return _assign(state, command)
        case TransferYubiKey():
            return _transfer(state, command)
        case UnassignYubiKey():
            return _unassign(state, command)
        case ReportYubiKeyLost():
            return _report_lost(state, command, actor)
        case RetireYubiKey():
            return _retire(state, command)
        case UnsealYubiKey(serial=serial, reason=reason):
            return YubiKeyUnsealed(serial=serial, reason=reason) if state.sealed_sha256 is not None else AlreadyDone()
        case _:
            assert_never(command)


def _register(state: Lifecycle, command: RegisterYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    if command.request_id in state.voided_request_ids:
        return _voided(command)
    if state.status is DeviceStatus.RETIRED:
        return _conflict(f"YubiKey {command.serial} is retired: register another one")
    if state.label == command.label:
        return AlreadyDone()
    return YubiKeyRegistered(serial=command.serial, label=command.label, request_id=command.request_id)


def _deregister(state: Lifecycle, command: DeregisterYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    if command.request_id is not None and command.request_id != state.label_request_id:
        return _void(state, command)
    if state.person_id is not None:
        return _conflict(f"YubiKey {command.serial} is assigned to {state.person_id}: send yubikey.unassign first")
    return (
        YubiKeyDeregistered(serial=command.serial, reason=command.reason) if state.label is not None else AlreadyDone()
    )


def _assign(state: Lifecycle, command: AssignYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    if command.request_id in state.voided_request_ids:
        return _voided(command)
    if (rejection := _unassignable(state, command)) is not None:
        return rejection
    serial, person_id = command.serial, command.person_id
    if state.person_id == person_id:
        return AlreadyDone()
    if state.person_id is not None:
        remedy = "send yubikey.transfer or yubikey.unassign"
        return _conflict(f"YubiKey {serial} is assigned to {state.person_id}: {remedy}")
    return YubiKeyAssigned(
        serial=serial, person_id=person_id, person_name=command.person_name, request_id=command.request_id
    )


def _transfer(state: Lifecycle, command: TransferYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    if (rejection := _unassignable(state, command)) is not None:
        return rejection
    serial, person_id = command.serial, command.person_id
    if state.person_id == person_id:
        return AlreadyDone()
    if state.person_id is None:
        return _conflict(f"YubiKey {serial} is not assigned: send yubikey.assign")
    return YubiKeyTransferred(
        serial=serial, from_person_id=state.person_id, person_id=person_id, person_name=command.person_name
    )


def _unassignable(state: Lifecycle, command: AssignYubiKey | TransferYubiKey) -> Rejection | None:
    if state.status is not DeviceStatus.IN_USE:
        return _conflict(f"YubiKey {command.serial} is {state.status} and cannot be assigned")
    if state.label is None:
        return _conflict(f"YubiKey {command.serial} is not registered: send yubikey.register first")
    return None


def _unassign(state: Lifecycle, command: UnassignYubiKey) -> LifecycleEvent | AlreadyDone:
    if command.request_id is not None and command.request_id != state.person_request_id:
        return _void(state, command)
    if state.person_id is None:
        return AlreadyDone()
    return YubiKeyAssignmentRevoked(serial=command.serial, person_id=state.person_id, reason=command.reason)


def _report_lost(state: Lifecycle, command: ReportYubiKeyLost, actor: str) -> LifecycleEvent | Rejection | AlreadyDone:
    if state.status is DeviceStatus.RETIRED:
        return _conflict(f"YubiKey {command.serial} is retired already")
    if state.status is DeviceStatus.LOST:
        return AlreadyDone()
    reporter = command.reported_by or actor
    return YubiKeyLost(
        serial=command.serial, person_id=state.person_id, reported_by=reporter, location=command.location
    )


def _retire(state: Lifecycle, command: RetireYubiKey) -> LifecycleEvent | Rejection | AlreadyDone:
    serial, replacement = command.serial, command.replacement_serial
    if replacement == serial:
        problem = "a YubiKey cannot replace itself: name another replacement_serial, or none"
        return Rejection(RejectionCode.INVALID, problem)
    if state.status is DeviceStatus.RETIRED:
        return AlreadyDone()
    return YubiKeyRetired(serial=serial, reason=command.reason, replacement_serial=replacement)


def _void(state: Lifecycle, command: DeregisterYubiKey | UnassignYubiKey) -> YubiKeyRequestVoided | AlreadyDone:
    """Voids a request that has not arrived: the compensation may overtake the command that it undoes."""
    if command.request_id is None or command.request_id in state.voided_request_ids:
        return AlreadyDone()
    return YubiKeyRequestVoided(serial=command.serial, request_id=command.request_id, reason=command.reason)


def _voided(command: RegisterYubiKey | AssignYubiKey) -> Rejection:
    return _conflict(f"request {command.request_id} was undone before it arrived: send it with another request_id")


def evolve(state: Lifecycle, event: LifecycleEvent) -> Lifecycle:
    match event:
        case YubiKeyRegistered(label=label, request_id=request_id):
            return replace(state, label=label, label_request_id=request_id)
        case YubiKeyDeregistered():
            return replace(state, label=None, label_request_id=None)
        case YubiKeyAssigned(person_id=person_id, request_id=request_id):
            return replace(state, person_id=person_id, person_request_id=request_id)
        case YubiKeyTransferred(person_id=person_id):
            return replace(state, person_id=person_id, person_request_id=None)
        case YubiKeyAssignmentRevoked():
            return replace(state, person_id=None, person_request_id=None)
        case YubiKeyRequestVoided(request_id=request_id):
            voided = (*state.voided_request_ids, request_id)[-_MAX_VOIDED_REQUEST_IDS:]
            return replace(state, voided_request_ids=voided)
        case YubiKeyLost():
            return replace(state, status=DeviceStatus.LOST)
        case YubiKeyRetired():
            return replace(state, status=DeviceStatus.RETIRED)
        case YubiKeyUnsealed():
            return replace(state, sealed_sha256=None)
        case _:
            assert_never(event)


def _conflict(problem: str) -> Rejection:
    return Rejection(RejectionCode.CONFLICT, problem)
