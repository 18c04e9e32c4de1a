"""Decider of the YubiKey aggregate. Pure: no clock, no randomness, no IO.

The aggregate has no creation event: a device exists before this service sees it. The log has only the changes to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never, get_args

from pydantic import TypeAdapter

from services.yubikey.core import lifecycle, presence, slots
from services.yubikey.core.effects import AtDevice, Effect, EffectDone, EffectFailed, Outcome
from services.yubikey.core.states import Device, DeviceStatus
from shared.contracts.yubikey.devices import (
    DeviceCommand,
    DeviceEvent,
    SlotsPlanned,
    YubiKeyDetected,
    YubiKeyProvisioned,
    YubiKeyReset,
    YubiKeySealed,
)
from shared.contracts.yubikey.lifecycle import (
    LifecycleCommand,
    LifecycleEvent,
)
from shared.contracts.yubikey.presence import PresenceCommand, PresenceEvent
from shared.contracts.yubikey.secrets import SecretCommand, SecretEvent
from shared.contracts.yubikey.slot_operations import SlotOperationCommand, SlotOperationEvent
from shared.contracts.yubikey.slots import YubiKeyCommand, YubiKeyEvent
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection
from shared.messages.ids import derive_id

AnyCommand = YubiKeyCommand | PresenceCommand | LifecycleCommand | DeviceCommand | SecretCommand | SlotOperationCommand
AnyEvent = YubiKeyEvent | PresenceEvent | LifecycleEvent | DeviceEvent | SecretEvent | SlotOperationEvent
Decision = AnyEvent | Rejection | AlreadyDone | Perform[Effect]
STATE_VERSION = 2


def decide(device: Device, message: AnyCommand | Outcome, context: Context) -> Decision:
    """Decides on a command, or on the result of an effect."""
    if isinstance(message, EffectFailed):
        return Rejection(message.code, message.message, retryable=message.retryable)
    if isinstance(message, EffectDone):
        return message.event
    if not isinstance(message, AnyCommand):
        return slots.event_for(message)
    return lifecycle.rejection_of(device.lifecycle, message.serial, message) or _decide_command(
        device, message, context
    )


def _decide_command(device: Device, command: AnyCommand, context: Context) -> Decision:
    operation_id = str(context.command_id)
    if isinstance(command, PresenceCommand):
        return presence.decide(device.presence, command)
    if isinstance(command, LifecycleCommand):
        return lifecycle.decide(device.lifecycle, command, context.actor)
    if isinstance(command, YubiKeyCommand):
        return slots.decide(device, command, operation_id, str(derive_id(context.command_id, "key_id")))
    return Perform(AtDevice(command.serial, operation_id, command))


def evolve(device: Device, event: AnyEvent) -> Device:
    if isinstance(event, YubiKeyEvent | SlotOperationEvent):
        return slots.evolve(device, event)
    if isinstance(event, PresenceEvent):
        return replace(device, presence=presence.evolve(event))
    if isinstance(event, LifecycleEvent):
        return replace(device, lifecycle=lifecycle.evolve(device.lifecycle, event))
    if isinstance(event, DeviceEvent):
        return _evolve_device(device, event)
    return device  # the log does not contain PIN, PUK or management key


def _evolve_device(device: Device, event: DeviceEvent) -> Device:
    before = device.lifecycle
    match event:
        case YubiKeySealed(config_sha256=digest):
            return replace(device, lifecycle=replace(before, sealed_sha256=digest))
        case YubiKeyProvisioned(role=role):
            return replace(device, lifecycle=replace(before, role=role))
        case YubiKeyReset():
            status = DeviceStatus.RETIRED if before.status is DeviceStatus.RETIRED else DeviceStatus.IN_USE
            after = replace(before, status=status, sealed_sha256=None, role=None)
            return replace(device, slots={}, lifecycle=after)
        case YubiKeyDetected() | SlotsPlanned():
            return device
        case _:
            assert_never(event)


YUBIKEY: Decider[Device, AnyCommand, AnyEvent, Effect, Outcome] = Decider(
    Device(),
    decide,
    evolve,
    commands=get_args(AnyCommand),
    events=get_args(AnyEvent),
    states=TypeAdapter(Device),
    state_version=STATE_VERSION,
)
