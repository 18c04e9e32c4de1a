"""What may be done to a YubiKey's slots, and what is then true of them. Pure: no clock, no randomness, no IO.

A device needs no birth: whether it is plugged in is the world's answer; the log knows only what was done through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, assert_never, get_args

from pydantic import TypeAdapter

from services.yubikey import presence
from services.yubikey.effects import (
    Attest,
    Attested,
    CertificatePut,
    DeviceRefused,
    Effect,
    EmptySlot,
    FetchSealingKey,
    GenerateInSlot,
    ImportKeyIntoSlot,
    NotAttested,
    Outcome,
    PutCertificate,
    ReadSlot,
    SealingKeyFetched,
    SlotContents,
    SlotEmptied,
    SlotFilled,
)
from services.yubikey.presence import Presence
from shared.contracts.command import RefusalCode
from shared.contracts.keying import Algorithm, Provenance
from shared.contracts.yubikey import (
    AttestSlot,
    ClearSlot,
    GenerateSlotKey,
    ImportPrepared,
    ImportSlotCertificate,
    ImportSlotKey,
    PrepareImport,
    Slot,
    SlotAttestationFailed,
    SlotAttested,
    SlotCertificateImported,
    SlotCleared,
    SlotPopulated,
    SlotVerified,
    VerifySlot,
    YubiKeyCommand,
    YubiKeyEvent,
)
from shared.contracts.yubikey_presence import PresenceCommand, PresenceEvent, YubiKeyInserted, YubiKeyRemoved
from shared.decider import Context, Decider, Perform, Refused, Stands
from shared.identity import derive

UNKNOWN_TO_DEVICES = frozenset({Algorithm.ML_DSA_65})

VOIDED = 256
"""How many voided key ids a device remembers: far more than there can be commands about it under way."""


@dataclass(frozen=True, slots=True)
class SlotContent:
    key_id: str
    public_key_pem: str
    certificate_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """*voided*: key ids that were cleared, which a command that comes late must not put into a slot any more.

    *present*: where it is plugged in; none: nowhere, or nobody ever saw it.
    """

    slots: dict[Slot, SlotContent] = field(default_factory=dict)
    voided: tuple[str, ...] = ()
    present: Presence | None = None
    kind: Literal["device"] = "device"


Answer = YubiKeyEvent | PresenceEvent | Refused | Stands | Perform[Effect]


def decide(device: Device, message: YubiKeyCommand | PresenceCommand | Outcome, context: Context) -> Answer:
    if isinstance(message, PresenceCommand):
        return presence.reported(device.present, message)
    if isinstance(message, YubiKeyCommand):
        return _asked(device, message, str(context.command_id), str(derive(context.command_id, "key_id")))
    return _came_of(message)


def _asked(device: Device, command: YubiKeyCommand, operation_id: str, key_id_if_none: str) -> Answer:
    serial, slot = command.serial, command.slot
    match command:
        case GenerateSlotKey(algorithm=algorithm, pin_policy=pin, touch_policy=touch, replace=may_replace):
            key_id = command.key_id or key_id_if_none
            return _fill(device, GenerateInSlot(serial, slot, operation_id, key_id, algorithm, pin, touch, may_replace))
        case ImportSlotKey(algorithm=algorithm, pin_policy=pin, touch_policy=touch, replace=may_replace):
            key_id, sealed = command.key_id, command.sealed_key
            filling = ImportKeyIntoSlot(serial, slot, operation_id, key_id, algorithm, pin, touch, may_replace, sealed)
            return _fill(device, filling)
        case PrepareImport():
            return Perform(FetchSealingKey(serial, slot))
        case AttestSlot():
            return Perform(Attest(serial, slot))
        case ImportSlotCertificate(certificate_pem=pem):
            return Perform(PutCertificate(serial, slot, pem))
        case VerifySlot(fingerprint_sha256=fingerprint):
            return Perform(ReadSlot(serial, slot, fingerprint))
        case ClearSlot(key_id=to_undo):
            content = device.slots.get(slot)
            known = content.public_key_pem if content is not None and content.key_id == to_undo else None
            return Perform(EmptySlot(serial, slot, operation_id, to_undo, known))
        case _:
            assert_never(command)


def _came_of(outcome: Outcome) -> YubiKeyEvent | Refused:
    if isinstance(outcome, DeviceRefused):
        return Refused(outcome.code, outcome.message, retryable=outcome.retryable)
    serial, slot, simulated = outcome.effect.serial, outcome.effect.slot, outcome.simulated
    match outcome:
        case SlotFilled(effect=effect):
            return SlotPopulated(
                serial=serial,
                slot=slot,
                simulated=simulated,
                key_id=effect.key_id,
                algorithm=effect.algorithm,
                provenance=Provenance.ON_DEVICE if isinstance(effect, GenerateInSlot) else Provenance.IMPORTED,
                public_key_pem=outcome.public_key_pem,
                fingerprint_sha256=outcome.fingerprint_sha256,
                attestation=outcome.attestation,
                pin_policy=outcome.pin_policy,
                touch_policy=outcome.touch_policy,
                replaced=outcome.replaced,
            )
        case SealingKeyFetched(recipient_public_key=public_key):
            return ImportPrepared(serial=serial, slot=slot, simulated=simulated, recipient_public_key=public_key)
        case Attested():
            return SlotAttested(
                serial=serial,
                slot=slot,
                simulated=simulated,
                public_key_pem=outcome.public_key_pem,
                firmware=outcome.firmware,
                pin_policy=outcome.pin_policy,
                touch_policy=outcome.touch_policy,
                root_fingerprint_sha256=outcome.root_fingerprint_sha256,
            )
        case NotAttested(reason=reason):
            return SlotAttestationFailed(serial=serial, slot=slot, simulated=simulated, reason=reason)
        case CertificatePut(fingerprint_sha256=digest):
            return SlotCertificateImported(serial=serial, slot=slot, simulated=simulated, fingerprint_sha256=digest)
        case SlotContents():
            return _verify(outcome)
        case SlotEmptied(effect=emptying):
            return SlotCleared(
                serial=serial,
                slot=slot,
                simulated=simulated,
                key_id=emptying.key_id,
                cleared=outcome.cleared,
                overwrote=outcome.overwrote,
            )
        case _:
            assert_never(outcome)


def _fill(device: Device, effect: GenerateInSlot | ImportKeyIntoSlot) -> Refused | Stands | Perform[Effect]:
    content = device.slots.get(effect.slot)
    if effect.algorithm in UNKNOWN_TO_DEVICES:
        return Refused(RefusalCode.INVALID, f"no YubiKey holds {effect.algorithm} keys: keep it in the key service")
    if effect.key_id in device.voided:
        problem = f"key {effect.key_id} was undone before it was done: slot {effect.slot} was cleared for it"
        return Refused(RefusalCode.CONFLICT, problem)
    if content is not None and content.key_id == effect.key_id:
        return Stands()
    if content is not None and not effect.replace:
        problem = f"slot {effect.slot} of YubiKey {effect.serial} holds key {content.key_id}"
        remedy = 'clear it first, or say "replace": true to overwrite it for good'
        return Refused(RefusalCode.CONFLICT, f"{problem}; {remedy}")
    return Perform(effect)


def _verify(found: SlotContents) -> SlotVerified | Refused:
    effect = found.effect
    where = f"slot {effect.slot} of YubiKey {effect.serial}"
    if found.public_key_pem is None:
        return Refused(RefusalCode.CONFLICT, f"{where} has no key")
    if found.certificate is None:
        return Refused(RefusalCode.CONFLICT, f"{where} has a key but no certificate")
    if found.certificate.public_key_pem != found.public_key_pem:
        return Refused(RefusalCode.CONFLICT, f"the certificate in {where} is not of the key in it")
    actual = found.certificate.fingerprint_sha256
    if effect.expected_fingerprint not in (None, actual):
        problem = f"the certificate in {where} has the fingerprint {actual}, not {effect.expected_fingerprint}"
        return Refused(RefusalCode.CONFLICT, problem)
    return SlotVerified(
        serial=effect.serial,
        slot=effect.slot,
        simulated=found.simulated,
        public_key_pem=found.public_key_pem,
        certificate_pem=found.certificate.pem,
        fingerprint_sha256=actual,
    )


def evolve(device: Device, event: YubiKeyEvent | PresenceEvent) -> Device:
    match event:
        case SlotPopulated(slot=slot, key_id=key_id, public_key_pem=pem):
            return replace(device, slots={**device.slots, slot: SlotContent(key_id, pem)})
        case SlotCertificateImported(slot=slot, fingerprint_sha256=fingerprint):
            if (content := device.slots.get(slot)) is None:
                return device  # the key came into the slot by other hands: the log does not know it
            content = replace(content, certificate_fingerprint=fingerprint)
            return replace(device, slots={**device.slots, slot: content})
        case SlotCleared():
            return _cleared(device, event)
        case YubiKeyInserted() | YubiKeyRemoved():
            return replace(device, present=presence.after(event))
        case ImportPrepared() | SlotAttested() | SlotAttestationFailed() | SlotVerified():
            return device
        case _:
            assert_never(event)


def _cleared(device: Device, event: SlotCleared) -> Device:
    content = device.slots.get(event.slot)
    slots, voided = device.slots, device.voided
    if content is not None and (event.cleared or event.key_id in (None, content.key_id)):
        slots = {slot: other for slot, other in slots.items() if slot != event.slot}
    if event.key_id is not None and event.key_id not in voided:
        voided = (*voided, event.key_id)[-VOIDED:]
    return replace(device, slots=slots, voided=voided)


YUBIKEY: Decider[Device, YubiKeyCommand | PresenceCommand, YubiKeyEvent | PresenceEvent, Effect, Outcome] = Decider(
    Device(),
    decide,
    evolve,
    commands=get_args(YubiKeyCommand | PresenceCommand),
    events=get_args(YubiKeyEvent | PresenceEvent),
    states=TypeAdapter(Device),
)
