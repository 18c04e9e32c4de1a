"""Decisions about the PIV slots of a device, and their state. Pure: no clock, no randomness, no IO."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from services.yubikey.core.effects import (
    Attest,
    Attested,
    CertificatePut,
    Effect,
    EmptySlot,
    FetchSealingKey,
    GenerateInSlot,
    ImportKeyIntoSlot,
    NotAttested,
    PutCertificate,
    ReadSlot,
    SealingKeyFetched,
    SlotContents,
    SlotEmptied,
    SlotFilled,
    SlotOutcome,
)
from services.yubikey.core.states import MAX_VOIDED_KEY_IDS, Device, SlotContent
from shared.contracts.key.value_types import Algorithm, Provenance
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.slot_operations import (
    SlotCsrCreated,
    SlotDecrypted,
    SlotMoved,
    SlotOperationEvent,
    SlotSignatureCreated,
)
from shared.contracts.yubikey.slots import (
    AttestSlot,
    ClearSlot,
    GenerateSlotKey,
    ImportPrepared,
    ImportSlotCertificate,
    ImportSlotKey,
    PrepareImport,
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
from shared.decider import AlreadyDone, Perform, Rejection

UNSUPPORTED_ALGORITHMS = frozenset({Algorithm.ML_DSA_65})


def decide(
    device: Device, command: YubiKeyCommand, operation_id: str, new_key_id: str
) -> Rejection | AlreadyDone | Perform[Effect]:
    """Decides on a slot command. *new_key_id*: id of the key that is generated if the command brings none."""
    serial, slot = command.serial, command.slot
    match command:
        case GenerateSlotKey():
            return _fill(
                device,
                GenerateInSlot(
                    serial=serial,
                    slot=slot,
                    operation_id=operation_id,
                    key_id=command.key_id or new_key_id,
                    algorithm=command.algorithm,
                    pin_policy=command.pin_policy,
                    touch_policy=command.touch_policy,
                    replace=command.replace,
                ),
            )
        case ImportSlotKey():
            return _fill(
                device,
                ImportKeyIntoSlot(
                    serial=serial,
                    slot=slot,
                    operation_id=operation_id,
                    key_id=command.key_id,
                    algorithm=command.algorithm,
                    pin_policy=command.pin_policy,
                    touch_policy=command.touch_policy,
                    replace=command.replace,
                    sealed_key=command.sealed_key,
                ),
            )
        case PrepareImport():
            return Perform(FetchSealingKey(serial=serial, slot=slot))
        case AttestSlot():
            return Perform(Attest(serial=serial, slot=slot))
        case ImportSlotCertificate(certificate_pem=pem):
            return Perform(PutCertificate(serial=serial, slot=slot, certificate_pem=pem))
        case VerifySlot(fingerprint_sha256=fingerprint):
            return Perform(ReadSlot(serial=serial, slot=slot, expected_fingerprint=fingerprint))
        case ClearSlot(key_id=key_id):
            content = device.slots.get(slot)
            pem_in_log = content.public_key_pem if content is not None and content.key_id == key_id else None
            return Perform(
                EmptySlot(serial=serial, slot=slot, operation_id=operation_id, key_id=key_id, public_key_pem=pem_in_log)
            )
        case _:
            assert_never(command)


def event_for(outcome: SlotOutcome) -> YubiKeyEvent | Rejection:
    """The event that reports the result of an effect."""
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


def _fill(device: Device, effect: GenerateInSlot | ImportKeyIntoSlot) -> Rejection | AlreadyDone | Perform[Effect]:
    content = device.slots.get(effect.slot)
    if effect.algorithm in UNSUPPORTED_ALGORITHMS:
        return Rejection(RejectionCode.INVALID, f"YubiKeys do not support {effect.algorithm}: use the key service")
    if effect.key_id in device.voided_key_ids:
        problem = f"key {effect.key_id} was undone before it arrived: slot {effect.slot} was cleared for it"
        return Rejection(RejectionCode.CONFLICT, problem)
    if content is not None and content.key_id == effect.key_id:
        return AlreadyDone()
    if content is not None and not effect.replace:
        problem = f"slot {effect.slot} of YubiKey {effect.serial} holds key {content.key_id}"
        remedy = 'clear it first, or set "replace": true to overwrite it irrecoverably'
        return Rejection(RejectionCode.CONFLICT, f"{problem}; {remedy}")
    return Perform(effect)


def _verify(found: SlotContents) -> SlotVerified | Rejection:
    effect = found.effect
    where = f"slot {effect.slot} of YubiKey {effect.serial}"
    if found.public_key_pem is None:
        return Rejection(RejectionCode.CONFLICT, f"{where} has no key")
    if found.certificate is None:
        return Rejection(RejectionCode.CONFLICT, f"{where} has a key but no certificate")
    if found.certificate.public_key_pem != found.public_key_pem:
        return Rejection(RejectionCode.CONFLICT, f"the certificate in {where} does not certify the key in it")
    actual = found.certificate.fingerprint_sha256
    if effect.expected_fingerprint not in (None, actual):
        problem = f"the certificate in {where} has the fingerprint {actual}, not {effect.expected_fingerprint}"
        return Rejection(RejectionCode.CONFLICT, problem)
    return SlotVerified(
        serial=effect.serial,
        slot=effect.slot,
        simulated=found.simulated,
        public_key_pem=found.public_key_pem,
        certificate_pem=found.certificate.pem,
        fingerprint_sha256=actual,
    )


def evolve(device: Device, event: YubiKeyEvent | SlotOperationEvent) -> Device:
    match event:
        case SlotPopulated(slot=slot, key_id=key_id, public_key_pem=pem):
            return replace(device, slots={**device.slots, slot: SlotContent(key_id, pem)})
        case SlotCertificateImported(slot=slot, fingerprint_sha256=fingerprint):
            if (content := device.slots.get(slot)) is None:
                return device  # another program put the key there: no event mentions it
            content = replace(content, certificate_fingerprint=fingerprint)
            return replace(device, slots={**device.slots, slot: content})
        case SlotCleared():
            return _cleared(device, event)
        case SlotMoved():
            return _moved(device, event)
        case ImportPrepared() | SlotAttested() | SlotAttestationFailed() | SlotVerified():
            return device
        case SlotCsrCreated() | SlotSignatureCreated() | SlotDecrypted():
            return device
        case _:
            assert_never(event)


def _cleared(device: Device, event: SlotCleared) -> Device:
    content = device.slots.get(event.slot)
    slots, voided_key_ids = device.slots, device.voided_key_ids
    if content is not None and (event.cleared or event.key_id in (None, content.key_id)):
        slots = {slot: other for slot, other in slots.items() if slot != event.slot}
    if event.key_id is not None and event.key_id not in voided_key_ids:
        voided_key_ids = (*voided_key_ids, event.key_id)[-MAX_VOIDED_KEY_IDS:]
    return replace(device, slots=slots, voided_key_ids=voided_key_ids)


def _moved(device: Device, event: SlotMoved) -> Device:
    content = device.slots.get(event.slot)
    rest = {slot: other for slot, other in device.slots.items() if slot != event.slot}
    return replace(device, slots=rest if content is None else {**rest, event.to: content})
