"""What the core may ask of the world, and what it can hear back. Every effect is idempotent: performed twice, the world
is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.contracts.yubikey.devices import (
    DeviceCommand,
    DeviceEvent,
)
from shared.contracts.yubikey.secrets import SecretCommand, SecretEvent
from shared.contracts.yubikey.slot_operations import SlotOperationCommand, SlotOperationEvent
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy


@dataclass(frozen=True, slots=True)
class _AtSlot:
    serial: str
    slot: Slot


@dataclass(frozen=True, slots=True)
class _KeyInSlot(_AtSlot):
    operation_id: str
    key_id: str
    algorithm: Algorithm
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replace: bool


@dataclass(frozen=True, slots=True)
class GenerateInSlot(_KeyInSlot):
    """Have the device make a key pair; performed twice with one operation id, it is made once."""


@dataclass(frozen=True, slots=True)
class ImportKeyIntoSlot(_KeyInSlot):
    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchSealingKey(_AtSlot):
    """Tell the public key to seal a private key to, if the device it is for is there."""


@dataclass(frozen=True, slots=True)
class Attest(_AtSlot):
    """Have the device state where the slot's key was made, and check the statement."""


@dataclass(frozen=True, slots=True)
class PutCertificate(_AtSlot):
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class ReadSlot(_AtSlot):
    expected_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class EmptySlot(_AtSlot):
    """Delete what is in the slot; with a *key_id* only that key, which the log may know by its *public_key_pem*."""

    operation_id: str
    key_id: str | None
    public_key_pem: str | None


@dataclass(frozen=True, slots=True)
class AtDevice:
    """Do with the device what *command* asks, once, however often it is asked under one *operation_id*."""

    serial: str
    operation_id: str
    command: DeviceCommand | SecretCommand | SlotOperationCommand


SlotEffect = GenerateInSlot | ImportKeyIntoSlot | FetchSealingKey | Attest | PutCertificate | ReadSlot | EmptySlot
Effect = AtDevice | SlotEffect


@dataclass(frozen=True, slots=True)
class SlotFilled:
    effect: GenerateInSlot | ImportKeyIntoSlot
    simulated: bool
    public_key_pem: str
    fingerprint_sha256: str
    attestation: str | None
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    replaced: bool


@dataclass(frozen=True, slots=True)
class SealingKeyFetched:
    effect: FetchSealingKey
    simulated: bool
    recipient_public_key: bytes


@dataclass(frozen=True, slots=True)
class Attested:
    effect: Attest
    simulated: bool
    public_key_pem: str
    firmware: str
    pin_policy: PinPolicy
    touch_policy: TouchPolicy
    root_fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class NotAttested:
    effect: Attest
    simulated: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CertificatePut:
    effect: PutCertificate
    simulated: bool
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    pem: str
    fingerprint_sha256: str
    public_key_pem: str


@dataclass(frozen=True, slots=True)
class SlotContents:
    effect: ReadSlot
    simulated: bool
    public_key_pem: str | None
    certificate: StoredCertificate | None


@dataclass(frozen=True, slots=True)
class SlotEmptied:
    effect: EmptySlot
    simulated: bool
    cleared: bool
    overwrote: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """It was done, and this is to be told of it."""

    event: DeviceEvent | SecretEvent | SlotOperationEvent


@dataclass(frozen=True, slots=True)
class DeviceRefused:
    """The device, or its absence, said no."""

    code: RejectionCode
    message: str
    retryable: bool = False


SlotOutcome = SlotFilled | SealingKeyFetched | Attested | NotAttested | CertificatePut | SlotContents | SlotEmptied
Outcome = SlotOutcome | Done | DeviceRefused
