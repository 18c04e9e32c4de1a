"""What may be done to a YubiKey, and what is then true of it. Pure: no clock, no randomness, no IO.

A device needs no birth: whether it is plugged in is the world's answer; the log knows only what was done through it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never, get_args

from pydantic import TypeAdapter

from services.yubikey.core import lifecycle, presence, slots
from services.yubikey.core.effects import AtDevice, DeviceRefused, Done, Effect, Outcome
from services.yubikey.core.states import Device, Fate
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
Answer = AnyEvent | Rejection | AlreadyDone | Perform[Effect]


def decide(device: Device, message: AnyCommand | Outcome, context: Context) -> Answer:
    if isinstance(message, DeviceRefused):
        return Rejection(message.code, message.message, retryable=message.retryable)
    if isinstance(message, Done):
        return message.event
    if not isinstance(message, AnyCommand):
        return slots.came_of(message)
    return lifecycle.barred(device.life, message.serial, message) or _asked(device, message, context)


def _asked(device: Device, command: AnyCommand, context: Context) -> Answer:
    operation_id = str(context.command_id)
    if isinstance(command, PresenceCommand):
        return presence.reported(device.present, command)
    if isinstance(command, LifecycleCommand):
        return lifecycle.told(device.life, command, context.actor)
    if isinstance(command, YubiKeyCommand):
        return slots.asked(device, command, operation_id, str(derive_id(context.command_id, "key_id")))
    return Perform(AtDevice(command.serial, operation_id, command))


def evolve(device: Device, event: AnyEvent) -> Device:
    if isinstance(event, YubiKeyEvent | SlotOperationEvent):
        return slots.evolve(device, event)
    if isinstance(event, PresenceEvent):
        return replace(device, present=presence.after(event))
    if isinstance(event, LifecycleEvent):
        return replace(device, life=lifecycle.after(device.life, event))
    if isinstance(event, DeviceEvent):
        return _after(device, event)
    return device  # what PIN, PUK and management key are is not the log's to know


def _after(device: Device, event: DeviceEvent) -> Device:
    life = device.life
    match event:
        case YubiKeySealed(config_sha256=digest):
            return replace(device, life=replace(life, sealed=digest))
        case YubiKeyProvisioned(role=role):
            return replace(device, life=replace(life, role=role))
        case YubiKeyReset():
            fate = Fate.RETIRED if life.fate is Fate.RETIRED else Fate.IN_USE
            return replace(device, slots={}, life=replace(life, fate=fate, sealed=None, role=None))
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
)
